package import Support

/// The hosts of a job, one a line: `name [slots=N]`. `#` begins a comment.
package struct Hostfile: Sendable, Equatable {
  package struct Host: Sendable, Equatable {
    package var name: String
    /// How many ranks run there.
    package var slots: Int

    package init(name: String, slots: Int) {
      self.name = name
      self.slots = slots
    }
  }

  /// More slots than this on one host are a typing mistake.
  private static let maximumSlots = 4096

  package var hosts: [Host]

  package var slotCount: Int { hosts.reduce(0) { $0 + $1.slots } }

  package init(hosts: [Host]) { self.hosts = hosts }

  /// Reads and checks a file.
  package init(path: String) throws(UserError) {
    try self.init(text: FileSystem.readText(path, limit: 1 << 20), path: path)
  }

  /// Parses the text of a file.
  ///
  /// - Parameters:
  ///   - text: the whole file.
  ///   - path: named in errors.
  /// - Throws: ``UserError`` with the line and what to write instead.
  package init(text: String, path: String) throws(UserError) {
    hosts = []
    var lines: [String: Int] = [:]
    // A carriage return and a newline are one Character, so both kinds of line end are split at.
    let all = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for (index, line) in all.enumerated() {
      let content = line.prefix { $0 != "#" }
      let words = content.split(whereSeparator: \.isWhitespace)
      guard let name = words.first.map({ String($0) }) else { continue }
      let place = "\(path):\(index + 1)"
      guard Self.isValidName(name) else {
        throw UserError(
          .usage, at: place,
          "\"\(name.prefix(80))\" is no host name: letters, digits, '.' and '-' only, and a letter "
            + "or digit first.",
          fix: "write a line such as \"node-b slots=4\".")
      }
      var slots = 1
      for word in words.dropFirst() {
        slots = try Self.slots(word, host: name, place: place, isRepeated: words.count > 2)
      }
      if let first = lines[name.lowercased()] {
        throw UserError(
          .usage, at: place, "host \(name) is already on line \(first).",
          fix: "give the host one line with all its slots.")
      }
      lines[name.lowercased()] = index + 1
      hosts.append(Host(name: name, slots: slots))
    }
    guard !hosts.isEmpty else {
      throw UserError(
        .usage, at: path, "names no host.",
        fix: "write one host a line, for example \"node-a slots=4\".")
    }
  }

  private static func slots(
    _ word: Substring, host: String, place: String, isRepeated: Bool
  ) throws(UserError) -> Int {
    let fix = "write \"\(host) slots=4\", or delete the line."
    guard word.hasPrefix("slots="), !isRepeated else {
      throw UserError(
        .usage, at: place,
        "\"\(word.prefix(80))\" is not understood: a host is followed by slots=N and nothing else.",
        fix: fix)
    }
    let text = word.dropFirst("slots=".count)
    guard let slots = Int(text) else {
      throw UserError(
        .usage, at: place, "slots=\(text.prefix(40)) is not a whole number.", fix: fix)
    }
    guard slots >= 1 else {
      throw UserError(
        .usage, at: place, "slots=\(slots), but a host needs at least one slot.", fix: fix)
    }
    guard slots <= maximumSlots else {
      throw UserError(
        .usage, at: place, "slots=\(slots), but a host has at most \(maximumSlots).", fix: fix)
    }
    return slots
  }

  /// `^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`: nothing else reaches a command line.
  package static func isValidName(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: false
      }
    }
    guard let first = bytes.first, isAlphanumeric(first), bytes.count <= 253 else { return false }
    return bytes.allSatisfy {
      isAlphanumeric($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
    }
  }

  /// Whether a name means this host, as Open MPI decides it: domains are not compared.
  ///
  /// - Parameters:
  ///   - name: a name or an IPv4 address.
  ///   - hostName: of this host.
  ///   - addresses: of this host.
  package static func isThisHost(_ name: String, hostName: String, addresses: [String]) -> Bool {
    if name == "localhost" || addresses.contains(name) { return true }
    let isAddress = name.allSatisfy { $0 == "." || $0.isNumber }
    func short(_ name: String) -> String {
      name.split(separator: ".").first.map { $0.lowercased() } ?? ""
    }
    return !isAddress && short(name) == short(hostName)
  }

  /// The host of each rank: the slots of the first host, then those of the second, and so on.
  package func host(ofRank rank: Int) -> String? {
    var first = 0
    for host in hosts {
      first += host.slots
      if rank < first { return host.name }
    }
    return nil
  }
}
