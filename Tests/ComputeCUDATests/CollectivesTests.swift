import Compute
import ComputeCPU
import ComputeCUDA
import DistributedTraining
import Glibc
import Model
import Optim
import Support
import TestSupport
import Testing
import Trainer

/// Whole optimizer steps of several ranks on emulated devices: through the host's memory, and by NCCL
/// between threads. Every number of ranks gives the same bits.
extension FakeLibraryTests {
  @Suite struct CollectivesTests {
    struct Case: Sendable, CustomTestStringConvertible {
      var step = StepCase(
        model: "mixtral-experts", quantization: .init(isNF4: true, isDouble: true), dropout: 0.1,
        retention: .inputs, packs: [[7], [3, 4], [5], [2, 6], [4]])
      var isSliced: Bool
      var testDescription: String { "\(step.model), base \(isSliced ? "in slices" : "whole")" }
    }

    static let cases = [
      Case(isSliced: false), Case(isSliced: true),
      Case(
        step: StepCase(model: "qwen2-tied", packs: [[7], [3, 4], [5], [2, 6], [4]]),
        isSliced: true),
    ]

    struct Outcome: Equatable, Sendable {
      var metrics: [StepMetrics]
      var weights: [UInt32]
    }

    /// Two steps of five packs on the ranks of a group.
    private static func run(
      _ example: Case, _ group: any ProcessGroup, _ backend: any Backend,
      _ makeCollectives: StepRun.MakeCollectives = { try HostCollectives($0, backend: $1) }
    ) throws -> Outcome {
      let run = try StepRun(
        example.step, backend, on: group, isSliced: example.isSliced,
        makeCollectives: makeCollectives)
      return Outcome(
        metrics: try [run.next(), run.next()],
        weights: try run.weightValues().map(\.bitPattern))
    }

    private static func alone(_ example: Case) throws -> Outcome {
      try run(
        Case(step: example.step, isSliced: false), SoloGroup(),
        CUDABackend(device: EmulatedDevice(), precision: .float32))
    }

    @Test(arguments: cases) func throughTheHost(_ example: Case) throws {
      let expected = try Self.alone(example)
      #expect(expected.metrics[1].loss < expected.metrics[0].loss)
      for ranks in [2, 4] {
        for result in ThreadGroup.run(
          ranks: ranks,
          { group in
            try Self.run(
              example, group, CUDABackend(device: EmulatedDevice(), precision: .float32))
          })
        {
          #expect(try result.get() == expected, "\(ranks) ranks")
        }
      }
    }

    // MARK: NCCL

    private struct Libraries {
      let library: NCCLLibrary
      let search: LibrarySearch
      let folder: String

      init() throws {
        folder = try #require(FakeLibraries.folder)
        try FakeLibraries.openDriver()
        let path = "\(folder)/libnccl.so.2"
        search = LibrarySearch([
          CUDALibrary.driver.variable: "\(folder)/libcuda.so.1",
          CUDALibrary.nccl.variable: path, CUDALibrary.cuBLASLt.variable: "none",
          LibrarySearch.foldersVariable: try #require(FakeLibraries.nvrtcFolder),
        ])
        library = try NCCLLibrary(search)
      }

      /// Runs a case on so many GPUs.
      func run(
        _ example: Case, ranks: Int,
        device change: @escaping @Sendable (DriverDevice) -> any CUDADevice = { $0 }
      ) throws -> [Result<Outcome, any Error>] {
        try FakeLibraries.call("fake_set_device_count", Int32(ranks), in: .driver)
        defer { try? FakeLibraries.call("fake_set_device_count", 0, in: .driver) }
        let (search, library, folder) = (search, library, folder)
        return ThreadGroup.run(ranks: ranks) { group in
          let device = change(
            try DriverDevice(
              localRank: group.rank, search: search,
              cacheDirectory: "\(folder)/accelerate-swift"))
          let backend = try CUDABackend(device: device, precision: .float32)
          return try CollectivesTests.run(example, group, backend) { group, backend in
            try Transport.nccl(library, device).makeCollectives(group, backend)
          }
        }
      }
    }

    @Test(.enabled(if: FakeLibraries.areThere, FakeLibraries.needs), arguments: cases)
    func fromGPUToGPU(_ example: Case) throws {
      let libraries = try Libraries()
      let expected = try Self.alone(example)
      for ranks in [2, 4] {
        for result in try libraries.run(example, ranks: ranks) {
          #expect(try result.get() == expected, "\(ranks) ranks")
        }
      }
      #expect(try FakeLibraries.ask("fake_lost_jobs", in: .driver) == 0)
      #expect(try FakeLibraries.ask("fake_event_count", in: .driver) == 0)
      #expect(try FakeLibraries.ask("fake_nccl_communicator_count", in: .nccl) == 0)
    }

    /// A stream that forgets one of its waits must not pass unseen.
    @Test(.enabled(if: FakeLibraries.areThere, FakeLibraries.needs), arguments: [true, false])
    func forgottenWaits(_ forgetsToFollow: Bool) throws {
      let libraries = try Libraries()
      let example = Case(isSliced: true)
      let expected = try Self.alone(example)
      try FakeLibraries.call("fake_nccl_drop_at_end", 1, in: .nccl)
      defer { try? FakeLibraries.call("fake_nccl_drop_at_end", 0, in: .nccl) }
      let results = try libraries.run(example, ranks: 2) {
        ForgetfulDevice($0, forgetsToFollow: forgetsToFollow)
      }
      let isFound = results.contains { result in
        guard let outcome = try? result.get() else { return true }
        return outcome != expected
      }
      #expect(isFound)
    }

    /// A link that breaks while the host waits for the device: the reason is told, nobody hangs.
    @Test(.enabled(if: FakeLibraries.areThere, FakeLibraries.needs)) func brokenLink() throws {
      let libraries = try Libraries()
      try FakeLibraries.call("fake_nccl_cut_after", 9, in: .nccl)
      defer { try? FakeLibraries.call("fake_nccl_cut_after", 0, in: .nccl) }
      let results = try libraries.run(Case(isSliced: true), ranks: 2)
      let texts = results.map { result in
        if case .failure(let error) = result { "\(error)" } else { "no failure" }
      }
      for text in texts {
        #expect(
          text.contains("failed: NCCL 2.28.9: remote process exited or there was a network error")
            || text.contains("another rank has ended"), "\(texts)")
      }
      #expect(texts.contains { $0.contains("NCCL 2.28.9") })
      #expect(try FakeLibraries.ask("fake_nccl_communicator_count", in: .nccl) == 0)
    }
  }
}

/// A device whose side streams leave one of their waits out.
private final class ForgetfulDevice: CUDADevice {
  private let base: DriverDevice
  private let forgetsToFollow: Bool

  init(_ base: DriverDevice, forgetsToFollow: Bool) {
    self.base = base
    self.forgetsToFollow = forgetsToFollow
  }

  private final class Stream: SideStream {
    let base: any SideStream
    let forgetsToFollow: Bool
    var handle: UnsafeMutableRawPointer { unsafe base.handle }

    init(_ base: any SideStream, forgetsToFollow: Bool) {
      self.base = base
      self.forgetsToFollow = forgetsToFollow
    }
    func follow() throws(ComputeError) { if !forgetsToFollow { try base.follow() } }
    func join() throws(ComputeError) { if forgetsToFollow { try base.join() } }
  }

  func makeSideStream() throws(ComputeError) -> any SideStream {
    Stream(try base.makeSideStream(), forgetsToFollow: forgetsToFollow)
  }

  var summary: String { base.summary }
  var peakByteCount: Int { base.peakByteCount }
  var library: (any ProductLibrary)? { base.library }
  var identity: (device: String, driver: String) { base.identity }
  var limits: DeviceLimits { base.limits }
  var place: DevicePlace { base.place }
  func freeByteCount() throws(ComputeError) -> Int { try base.freeByteCount() }
  func allocate(byteCount: Int) throws(ComputeError) -> Storage {
    try base.allocate(byteCount: byteCount)
  }
  func allocateOnHost(byteCount: Int) throws(ComputeError) -> Storage {
    try base.allocateOnHost(byteCount: byteCount)
  }
  func setZero(_ address: UnsafeMutableRawPointer, byteCount: Int) throws(ComputeError) {
    try unsafe base.setZero(address, byteCount: byteCount)
  }
  func copy(
    from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, byteCount: Int,
    direction: CopyDirection
  ) throws(ComputeError) {
    try unsafe base.copy(
      from: source, to: destination, byteCount: byteCount, direction: direction)
  }
  func launch(
    _ kernel: String, grid: LaunchGrid, sharedByteCount: Int, _ arguments: [KernelArgument]
  ) throws(ComputeError) {
    try base.launch(kernel, grid: grid, sharedByteCount: sharedByteCount, arguments)
  }
  func synchronize() throws(ComputeError) { try base.synchronize() }
  func makeCurrent() { base.makeCurrent() }
  func watch(_ exchange: any DeviceWatched) { base.watch(exchange) }
  func milliseconds(_ work: () throws -> Void) throws -> Double { try base.milliseconds(work) }
}
