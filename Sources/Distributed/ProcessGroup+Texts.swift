package import Support

extension ProcessGroup {
  /// The texts of all ranks, by rank.
  package func allGather(_ text: String) throws(UserError) -> [String] {
    let own = Array(text.utf8)
    let counts = try allGather([Double(own.count)]).map { Int($0[0]) }
    var gathered = [UInt8](repeating: 0, count: counts.reduce(0, +))
    // The closures of the standard library do not carry typed errors through, so the result does.
    let outcome: Result<Void, UserError> = unsafe own.withUnsafeBytes { send in
      unsafe gathered.withUnsafeMutableBytes { receive in
        do throws(UserError) {
          return .success(try unsafe allGatherV(send, into: receive, counts: counts))
        } catch {
          return .failure(error)
        }
      }
    }
    try outcome.get()
    var rest = gathered[...]
    return counts.map { count in
      defer { rest = rest.dropFirst(count) }
      return String(decoding: rest.prefix(count), as: UTF8.self)
    }
  }
}
