internal import Glibc

/// Owns a span of memory that tensors lie in; released when the last tensor goes.
///
/// Host storage is anonymous memory: pages are zero and take no room until they are touched.
///
/// `@unchecked Sendable` is sound because the address and size never change, and who may write
/// which bytes is decided by the caller: threads of a backend get disjoint tiles, and a rank's
/// communication thread owns a slab until it hands it over.
@safe package final class Storage: @unchecked Sendable {
  package let address: UnsafeMutableRawPointer
  package let byteCount: Int
  /// Whether the address can be read and written by this process; else it is a device's own.
  package let isOnHost: Bool
  private let isMapped: Bool
  private let isPrivate: Bool
  private let release: (@Sendable () -> Void)?

  /// Reserves zeroed host memory, aligned to a page.
  package init(hostByteCount: Int) throws(ComputeError) {
    byteCount = max(hostByteCount, 1)
    isOnHost = true
    isMapped = true
    isPrivate = true
    release = nil
    let address = unsafe mmap(
      nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard unsafe address != MAP_FAILED, let address = unsafe address else {
      throw ComputeError("cannot reserve \(hostByteCount) bytes of memory")
    }
    unsafe self.address = address
  }

  /// Maps a file's first bytes, shared with the other processes that map it.
  ///
  /// - Parameters:
  ///   - descriptor: open for reading and writing; may be closed afterwards.
  ///   - byteCount: of the file or less.
  package init(sharedFile descriptor: Int32, byteCount: Int) throws(ComputeError) {
    self.byteCount = max(byteCount, 1)
    isOnHost = true
    isMapped = true
    isPrivate = false
    release = nil
    let address = unsafe mmap(
      nil, self.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard unsafe address != MAP_FAILED, let address = unsafe address else {
      throw ComputeError("cannot map \(byteCount) bytes of shared memory")
    }
    unsafe self.address = address
  }

  /// Memory of the host that somebody else gives and takes back.
  ///
  /// - Parameters:
  ///   - hostAddress: of the first byte.
  ///   - byteCount: of the memory.
  ///   - release: called when the last tensor goes.
  package init(
    hostAddress: UnsafeMutableRawPointer, byteCount: Int, release: @escaping @Sendable () -> Void
  ) {
    unsafe address = hostAddress
    self.byteCount = byteCount
    isOnHost = true
    isMapped = false
    isPrivate = false
    self.release = release
  }

  /// A size without memory, for planning: its tensors have shapes and places but no content.
  package init(unbackedByteCount: Int) {
    byteCount = unbackedByteCount
    isOnHost = true
    isMapped = false
    isPrivate = false
    release = nil
    unsafe address = UnsafeMutableRawPointer(bitPattern: 1 << 12).unsafelyUnwrapped
  }

  /// Memory of a device.
  ///
  /// - Parameters:
  ///   - deviceAddress: of the first byte, as the device has it.
  ///   - byteCount: of the memory.
  ///   - release: called when the last tensor goes.
  package init(
    deviceAddress: UnsafeMutableRawPointer, byteCount: Int, release: @escaping @Sendable () -> Void
  ) {
    unsafe address = deviceAddress
    self.byteCount = byteCount
    isOnHost = false
    isMapped = false
    isPrivate = false
    self.release = release
  }

  /// Gives the pages of private host memory back to the system; their content becomes zero.
  package func giveBackPages() {
    if isMapped && isPrivate { unsafe madvise(address, byteCount, MADV_DONTNEED) }
  }

  deinit {
    if isMapped { unsafe munmap(address, byteCount) }
    release?()
  }
}
