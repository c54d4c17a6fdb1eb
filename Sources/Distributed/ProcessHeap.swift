internal import Glibc

/// The heap of this process.
package enum ProcessHeap {
  /// Gives free pages back to the system, where the C library can.
  package static func trim() {
    // In <malloc.h>, which Swift's module of the C library leaves out.
    guard let symbol = unsafe dlsym(nil, "malloc_trim") else { return }
    let trim = unsafe unsafeBitCast(symbol, to: (@convention(c) (Int) -> Int32).self)
    _ = trim(0)
  }
}
