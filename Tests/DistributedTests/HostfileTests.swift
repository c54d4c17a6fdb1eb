import DistributedTraining
import Support
import Testing

@Suite struct HostfileTests {
  @Test func readsNamesSlotsAndComments() throws {
    let file = try Hostfile(
      text: "# two nodes\r\nnode-a slots=8 # fast\n\n  10.0.0.7\t slots=4\nnode-c\n", path: "hosts")
    #expect(
      file.hosts == [
        Hostfile.Host(name: "node-a", slots: 8), Hostfile.Host(name: "10.0.0.7", slots: 4),
        Hostfile.Host(name: "node-c", slots: 1),
      ])
    #expect(file.slotCount == 13)
    #expect(
      [0, 7, 8, 11, 12, 13].map { file.host(ofRank: $0) ?? "none" }
        == ["node-a", "node-a", "10.0.0.7", "10.0.0.7", "node-c", "none"])
  }

  @Test(arguments: [
    (
      "a slots=4\n\nnode-b slots=0\n",
      """
      hosts:3: slots=0, but a host needs at least one slot.
        fix: write "node-b slots=4", or delete the line.
      """
    ),
    (
      "node-b slots=many",
      """
      hosts:1: slots=many is not a whole number.
        fix: write "node-b slots=4", or delete the line.
      """
    ),
    (
      "node-b slots=99999",
      """
      hosts:1: slots=99999, but a host has at most 4096.
        fix: write "node-b slots=4", or delete the line.
      """
    ),
    (
      "node-b slots=2 slots=3",
      """
      hosts:1: "slots=2" is not understood: a host is followed by slots=N and nothing else.
        fix: write "node-b slots=4", or delete the line.
      """
    ),
    (
      "node-b max_slots=2",
      """
      hosts:1: "max_slots=2" is not understood: a host is followed by slots=N and nothing else.
        fix: write "node-b slots=4", or delete the line.
      """
    ),
    (
      "a\nb\nA slots=2",
      """
      hosts:3: host A is already on line 1.
        fix: give the host one line with all its slots.
      """
    ),
    (
      "# nothing\n",
      """
      hosts: names no host.
        fix: write one host a line, for example "node-a slots=4".
      """
    ),
    (
      "-oProxyCommand=id slots=1",
      """
      hosts:1: "-oProxyCommand=id" is no host name: letters, digits, '.' and '-' only, and a letter \
      or digit first.
        fix: write a line such as "node-b slots=4".
      """
    ),
  ])
  func errorsSayWhatWhereRuleAndFix(_ text: String, _ expected: String) {
    let error = #expect(throws: UserError.self) { try Hostfile(text: text, path: "hosts") }
    #expect(error?.description == expected)
    #expect(error?.exitCode == ExitCode.usage)
  }

  @Test(arguments: [
    "$(id)", "a;b", "a,b", "a:4", "`id`", "user@host", "a/b", "\u{e9}", ".a", "a_b",
  ])
  func refusesNamesThatAreNone(_ name: String) {
    #expect(throws: UserError.self) { try Hostfile(text: "\(name) slots=1", path: "hosts") }
  }

  @Test(arguments: [("one-node", 8), ("two-nodes", 16), ("heterogeneous", 14)])
  func examplesAreRight(_ name: String, _ slotCount: Int) throws {
    let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    let file = try Hostfile(path: FileSystem.parent(of: tests) + "/hostfiles/\(name)")
    #expect(file.slotCount == slotCount)
  }

  @Test(arguments: [
    ("localhost", true), ("127.0.0.1", true), ("10.0.0.7", true), ("10.0.0.8", false),
    ("node-a", true), ("Node-A.cluster.example", true), ("node-b", false), ("10", false),
  ])
  func thisHost(_ name: String, _ expected: Bool) {
    #expect(
      Hostfile.isThisHost(
        name, hostName: "node-a.cluster", addresses: ["127.0.0.1", "10.0.0.7"]) == expected)
  }

  @Test func lengthOfNamesIsBounded() {
    #expect(Hostfile.isValidName(String(repeating: "a", count: 253)))
    #expect(!Hostfile.isValidName(String(repeating: "a", count: 254)))
    #expect(!Hostfile.isValidName(""))
  }
}
