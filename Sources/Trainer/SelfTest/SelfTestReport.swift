internal import DistributedTraining
internal import Support

/// Results of `test` as a file, to be kept.
struct SelfTestReport {
  private let head: JSONObject
  private var checks: [JSONValue] = []

  init(device: String, group: any ProcessGroup) {
    head = JSONObject([
      ("version", .string(programVersion)), ("device", .string(device)),
      ("ranks", .integer(group.worldSize)),
    ])
  }

  mutating func add(_ name: String, isRight: Bool, _ detail: String, _ figures: JSONObject) {
    var check = JSONObject([
      ("check", .string(name)), ("ok", .bool(isRight)), ("detail", .string(detail)),
    ])
    for (name, value) in figures.members { check[name] = value }
    checks.append(.object(check))
  }

  func write(_ path: String) throws(UserError) {
    var report = head
    report["checks"] = .array(checks)
    try FileSystem.writeAtomically(JSONValue.object(report).prettyText + "\n", to: path)
  }
}
