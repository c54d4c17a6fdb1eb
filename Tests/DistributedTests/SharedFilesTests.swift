import DistributedTraining
import Support
import Testing

@Suite struct SharedFilesTests {
  private func withDirectory(_ body: (String) throws -> Void) throws {
    let path = "/tmp/accelerate-swift-test-\(UInt64.random(in: 0...UInt64.max))"
    try FileSystem.makeDirectories(path)
    defer { try? FileSystem.remove(path) }
    try body(path)
  }

  @Test func changesAreSeen() throws {
    try withDirectory { path in
      let file = "\(path)/data.jsonl"
      var fingerprints: Set<String> = []
      // Shorter than one sample, a few samples, and more than all of them.
      for byteCount in [0, 1, 16_384, 100_000, 1_000_000] {
        var bytes = [UInt8](repeating: 7, count: byteCount)
        for isChanged in [false, true] where byteCount > 0 || !isChanged {
          if isChanged { bytes[byteCount - 1] = 8 }
          try FileSystem.write(bytes, to: file)
          fingerprints.insert(try #require(try SharedFiles(path: file)).fingerprint)
          try FileSystem.remove(file)
        }
      }
      #expect(fingerprints.count == 9)
    }
  }

  @Test func directoriesAreTheirFiles() throws {
    try withDirectory { path in
      let empty = try #require(try SharedFiles(path: path))
      #expect(empty.tensorByteCount == 0)
      try FileSystem.write(Array("notes".utf8), to: "\(path)/README.txt")
      #expect(try SharedFiles(path: path) == empty)
      try FileSystem.write(Array("{}".utf8), to: "\(path)/config.json")
      #expect(try SharedFiles(path: path) != empty)
      #expect(try SharedFiles(path: "\(path)/missing") == nil)
    }
  }

  @Test func sizesAreThoseOfTheTensors() throws {
    let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    let model = "\(tests)/Fixtures/models/qwen2-tied"
    let files = try #require(try SharedFiles(path: model))
    #expect(files.tensorByteCount == 71_336)
    #expect(files.elementCount > 0 && files.elementCount * 2 <= files.tensorByteCount)
    #expect(HostCheck.minimumByteCount(files, isQuantized: false) == files.tensorByteCount)
    #expect(HostCheck.minimumByteCount(files, isQuantized: true) == files.elementCount / 2)
  }
}
