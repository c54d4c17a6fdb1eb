internal import Glibc
package import Support

/// The network interface that the ranks of several hosts talk over.
package enum NetworkInterface: Sendable, Equatable {
  /// The same name on every host.
  case named(String)
  /// Whichever interface has an address in this IPv4 network.
  case network(text: String, base: UInt32, prefixLength: Int)

  /// Interfaces that lead to no other host.
  package static let excluded = "lo,docker0"

  /// Reads `eth0` or `10.0.0.0/24`.
  ///
  /// - Throws: ``UserError`` for anything else: the text reaches the command lines of all hosts.
  package init(_ text: String) throws(UserError) {
    if let slash = text.firstIndex(of: "/") {
      let length = text[text.index(after: slash)...]
      guard let base = Self.address(text[..<slash]), let prefixLength = Self.number(length, 32),
        prefixLength > 0
      else { throw Self.error(text) }
      self = .network(text: text, base: base, prefixLength: prefixLength)
      return
    }
    let isWord = text.utf8.allSatisfy { byte in
      EnvironmentScrubber.isPlain(String(decoding: [byte], as: UTF8.self))
        && !",:/^+".utf8.contains(byte)
    }
    // Open MPI takes what begins with a digit for a network.
    guard isWord, let first = text.first, first.isLetter, text.utf8.count <= 15 else {
      throw Self.error(text)
    }
    self = .named(text)
  }

  private static func error(_ text: String) -> UserError {
    UserError(
      .usage, at: "--network-interface",
      "\"\(text.prefix(80))\" is neither the name of an interface nor an IPv4 network",
      fix: "write --network-interface eth0, or --network-interface 10.0.0.0/24; "
        + "`ip -brief address` lists what a host has")
  }

  /// As Open MPI takes it.
  package var text: String {
    switch self {
    case .named(let name): name
    case .network(let text, _, _): text
    }
  }

  /// Whether one of a host's interfaces is meant.
  package func matches(_ interfaces: [(name: String, address: String)]) -> Bool {
    interfaces.contains { interface in
      switch self {
      case .named(let name): return interface.name == name
      case .network(_, let base, let prefixLength):
        guard let address = Self.address(interface.address[...]) else { return false }
        return (address ^ base) >> UInt32(32 - prefixLength) == 0
      }
    }
  }

  private static func number(_ text: Substring, _ maximum: Int) -> Int? {
    guard (1...3).contains(text.utf8.count), text.allSatisfy({ $0.isASCII && $0.isNumber }),
      let number = Int(text), number <= maximum
    else { return nil }
    return number
  }

  /// Four numbers with dots between them.
  private static func address(_ text: Substring) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { number($0, 255) }
    guard parts.count == 4, numbers.count == 4 else { return nil }
    return numbers.reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// How `launch` tells ranks which interface was chosen.
  package static let variable = "ACCELERATE_NETWORK_INTERFACE"

  /// Lets NCCL use the interface that `launch` was told, unless the user told NCCL another one; to be
  /// called before the library is used.
  package static func tellNCCL() {
    guard let setting = ncclSetting(KernelFile.environment(), ofThisHost()) else { return }
    unsafe setenv(ncclVariable, setting, 1)
  }

  private static let ncclVariable = "NCCL_SOCKET_IFNAME"

  /// What NCCL is to be told.
  ///
  /// - Parameters:
  ///   - variables: of the environment.
  ///   - interfaces: of this host.
  /// - Returns: the variable's value; nil where the user has set it, or nothing was chosen.
  package static func ncclSetting(
    _ variables: [String: String], _ interfaces: [(name: String, address: String)]
  ) -> String? {
    guard variables[ncclVariable] == nil, let text = variables[variable],
      let chosen = try? NetworkInterface(text),
      let own = interfaces.first(where: { chosen.matches([$0]) })
    else { return nil }
    // With `=` the whole name counts, not its beginning.
    return "=\(own.name)"
  }

  /// The interfaces of this host that are up and have an IPv4 address.
  package static func ofThisHost() -> [(name: String, address: String)] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var result: [(name: String, address: String)] = []
    var next = unsafe list
    while let entry = unsafe next {
      unsafe next = entry.pointee.ifa_next
      guard unsafe entry.pointee.ifa_flags & UInt32(IFF_UP) != 0,
        let address = unsafe entry.pointee.ifa_addr,
        unsafe Int32(address.pointee.sa_family) == AF_INET
      else { continue }
      let bits = unsafe address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
        unsafe UInt32(bigEndian: $0.pointee.sin_addr.s_addr)
      }
      let text = [24, 16, 8, 0].map { "\(bits >> $0 & 255)" }.joined(separator: ".")
      unsafe result.append((String(cString: entry.pointee.ifa_name), text))
    }
    return result
  }
}
