internal import Compute
internal import DistributedTraining
internal import Support

/// The ranks that take their memory from one place: those of a host, or those that compute on one GPU.
struct MemorySharers {
  /// Of the place that most ranks share.
  let ranks: [Int]
  /// What it is; nil for the memory of hosts.
  let device: String?

  /// All ranks call it.
  init(_ backend: any Backend, group: any ProcessGroup) throws(UserError) {
    let name = backend.memoryName
    // The same for all processes under one kernel.
    let host = KernelFile.firstLine("/proc/sys/kernel/random/boot_id") ?? ""
    let places = try group.allGather("\(host) \(name ?? "")")
    self.init(places, isDevice: name != nil)
  }

  /// - Parameters:
  ///   - places: of each rank: host, blank, device.
  ///   - isDevice: whether the memory is a device's own.
  init(_ places: [String], isDevice: Bool) {
    let sets = Dictionary(grouping: places.indices) { places[$0] }.values
    ranks = sets.max { ($0.count, -$0[0]) < ($1.count, -$1[0]) } ?? []
    let place = ranks.first.map { places[$0] } ?? ""
    device = isDevice ? String(place.drop { $0 != " " }.dropFirst()) : nil
  }

  /// A line for the user; nil where there is nothing to say.
  var note: String? {
    guard let device, ranks.count > 1 else { return nil }
    return
      "note: ranks \(Self.list(ranks)) share \(device); they take its memory together, and its time"
  }

  /// `0 to 3`, or `0, 2, 5`.
  private static func list(_ ranks: [Int]) -> String {
    guard ranks.count > 2, ranks[ranks.count - 1] - ranks[0] == ranks.count - 1 else {
      return ranks.map { "\($0)" }.joined(separator: ", ")
    }
    return "\(ranks[0]) to \(ranks[ranks.count - 1])"
  }

  /// Who shares the place, for the message of a run that does not fit.
  var remark: String {
    guard let device, ranks.count > 1 else { return "" }
    return "; ranks \(Self.list(ranks)) share \(device)"
  }
}
