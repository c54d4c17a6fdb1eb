internal import CCUDA
package import Compute

/// A second queue of a device's work, for exchanges beside the computation.
package protocol SideStream: AnyObject, Sendable {
  /// The driver's `CUstream`.
  var handle: UnsafeMutableRawPointer { get }
  /// What is queued on it from now on waits for all that was asked of the device.
  func follow() throws(ComputeError)
  /// What is asked of the device from now on waits for all that was queued on it.
  func join() throws(ComputeError)
}

/// Something that may fail while the host waits for the device.
package protocol DeviceWatched: AnyObject, Sendable {
  /// Throws what has gone wrong.
  func check() throws(ComputeError)
}

/// Which GPU a device is.
package struct DevicePlace: Sendable, Equatable {
  package var name: String
  /// Compute capability, 90 for 9.0.
  package var capability: Int
  package var byteCount: Int
  /// On the host's bus, such as `0000:3b:00.0`.
  package var address: String

  package init(name: String, capability: Int, byteCount: Int, address: String) {
    self.name = name
    self.capability = capability
    self.byteCount = byteCount
    self.address = address
  }

  /// For people, such as `NVIDIA H100 at 0000:3b:00.0`; no other GPU of the host has it.
  package var text: String { "\(name) at \(address)" }
}

/// A stream of the driver that gets multiprocessors before the computation does.
///
/// `@unchecked Sendable` is sound because the handles never change after `init`, and the driver may
/// be called from any thread.
@safe final class DriverSideStream: SideStream, @unchecked Sendable {
  let handle: UnsafeMutableRawPointer
  private let device: DriverDevice
  /// Recorded anew each time: whoever waits, waits for what was recorded last before it.
  private let events: (asked: UnsafeMutableRawPointer, queued: UnsafeMutableRawPointer)

  init(_ device: DriverDevice) throws(ComputeError) {
    self.device = device
    var (stream, asked, queued):
      (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?)
    unsafe (stream, asked, queued) = (nil, nil, nil)
    let work = "making a stream"
    try unsafe device.require(ccuda_create_stream(&stream, true), work)
    try unsafe device.require(ccuda_create_event(&asked, false), work)
    try unsafe device.require(ccuda_create_event(&queued, false), work)
    guard let stream = unsafe stream, let asked = unsafe asked, let queued = unsafe queued else {
      throw ComputeError("the driver gave no stream")
    }
    unsafe handle = stream
    unsafe events = unsafe (asked, queued)
  }

  deinit {
    device.makeCurrent()
    unsafe ccuda_destroy_event(events.asked)
    unsafe ccuda_destroy_event(events.queued)
    unsafe ccuda_destroy_stream(handle)
  }

  func follow() throws(ComputeError) {
    device.makeCurrent()
    try unsafe device.require(ccuda_record_event(events.asked, device.stream), "recording an event")
    try unsafe device.require(ccuda_wait_for_event(handle, events.asked), "waiting for an event")
  }

  func join() throws(ComputeError) {
    device.makeCurrent()
    try unsafe device.require(ccuda_record_event(events.queued, handle), "recording an event")
    try unsafe device.require(
      ccuda_wait_for_event(device.stream, events.queued), "waiting for an event")
  }
}
