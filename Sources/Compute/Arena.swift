/// A stack of tensors inside one storage: what is allocated after a mark is given back together.
///
/// The step allocates nothing: its tensors are carved from arenas that are sized before the run.
package final class Arena {
  private let storage: Storage
  private let name: String
  private var used = 0
  /// The most bytes that were ever in use.
  package private(set) var highWaterMark = 0

  package var byteCount: Int { storage.byteCount }

  /// - Parameters:
  ///   - storage: the memory to carve up.
  ///   - name: for the message when it does not suffice.
  package init(storage: Storage, name: String) {
    self.storage = storage
    self.name = name
  }

  /// The next `[rows, columns]` tensor, aligned to 64 bytes; its content is undefined.
  package func allocate(_ rows: Int, _ columns: Int, _ elementType: ElementType = .float32)
    -> Tensor
  {
    let byteCount = rows * columns * elementType.byteCount
    precondition(
      used + byteCount <= storage.byteCount,
      "arena \(name): \(byteCount) bytes more than \(used) of \(storage.byteCount) in use")
    let tensor = Tensor(
      storage: storage, byteOffset: used, rows: rows, columns: columns, elementType: elementType)
    used = (used + byteCount + 63) / 64 * 64
    highWaterMark = max(highWaterMark, used)
    return tensor
  }

  /// A point to return to.
  package var mark: Int { used }

  /// Gives the memory itself back between steps, for work that needs it; whatever was in it is lost.
  package func giveBackPages() {
    release(to: 0)
    storage.giveBackPages()
  }

  /// Gives everything back and forgets the high-water mark.
  package func reset() {
    used = 0
    highWaterMark = 0
  }

  /// Gives back everything that was allocated since `mark`.
  package func release(to mark: Int) {
    precondition(mark <= used)
    used = mark
  }
}
