internal import Glibc

/// Time for measuring; it never jumps.
package enum SteadyClock {
  /// Seconds since some fixed time.
  package static func seconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
