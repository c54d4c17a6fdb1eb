internal import CCUDA

/// The kernels that are embedded in the program, read off their sources.
package enum KernelCatalog {
  /// A source file.
  package struct File: Sendable {
    package let name: String
    package let text: String

    package init(name: String, text: String) {
      self.name = name
      self.text = text
    }
  }

  /// A kernel, the file it is in, and the threads of its blocks.
  package struct Kernel: Sendable, Equatable {
    package let name: String
    package let file: String
    package let threadCount: Int
  }

  /// Every file, headers included.
  package static let files: [File] = (0..<ccuda_file_count()).map { index in
    let file = unsafe ccuda_file_at(index)
    let bytes = unsafe UnsafeRawBufferPointer(start: file.text, count: file.byte_count)
    return File(
      name: unsafe String(cString: file.name), text: unsafe String(decoding: bytes, as: UTF8.self))
  }

  /// Files that hold kernels.
  package static let sources: [File] = files.filter { $0.name.hasSuffix(".cu") }

  /// Every kernel by its name.
  package static let kernels: [String: Kernel] = {
    var kernels: [String: Kernel] = [:]
    for source in sources {
      // KERNEL(threads) name(parameters ...
      let text = Array(source.text.utf8)
      let mark = Array("\nKERNEL(".utf8)
      var position = 0
      while position + mark.count < text.count {
        guard text[position..<position + mark.count].elementsEqual(mark) else {
          position += 1
          continue
        }
        position += mark.count
        let digits = text[position...].prefix { $0 != UInt8(ascii: ")") }
        let rest = text[(position + digits.count + 1)...].drop {
          $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n")
        }
        let name = String(decoding: rest.prefix { $0 != UInt8(ascii: "(") }, as: UTF8.self)
        guard let threads = Int(String(decoding: digits, as: UTF8.self)) else {
          preconditionFailure("\(source.name): a kernel without a number of threads")
        }
        kernels[name] = Kernel(name: name, file: source.name, threadCount: threads)
      }
    }
    return kernels
  }()

  /// A kernel that is known to exist.
  package static func kernel(_ name: String) -> Kernel {
    guard let kernel = kernels[name] else { preconditionFailure("no kernel \(name)") }
    return kernel
  }
}
