internal import Glibc
package import Support

/// Where ranks find their launcher, from the environment.
package struct ControlAddress: Sendable, Equatable {
  /// Numeric IPv4 addresses of the launcher's machine.
  package var hosts: [String]
  package var port: UInt16
  /// A secret of this job; it is in no command line.
  package var token: String

  /// `10.0.0.1,192.168.1.1:40001`
  package static let addressVariable = "ACCELERATE_CONTROL_ADDRESS"
  package static let tokenVariable = "ACCELERATE_CONTROL_TOKEN"

  package init(hosts: [String], port: UInt16, token: String) {
    self.hosts = hosts
    self.port = port
    self.token = token
  }

  /// - Parameter variables: the environment.
  /// - Returns: nil when no launcher is named there.
  package init?(_ variables: [String: String]) {
    guard let text = variables[Self.addressVariable], let token = variables[Self.tokenVariable],
      let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { return nil }
    self.init(
      hosts: text[..<colon].split(separator: ",").map { String($0) }, port: port, token: token)
  }

  /// The value of ``addressVariable``.
  package var text: String { hosts.joined(separator: ",") + ":\(port)" }

  /// 256 bits from the kernel's generator, in hexadecimal.
  package static func makeToken() -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<32).map { _ in
      let text = String(UInt8.random(in: .min ... .max, using: &generator), radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
  }
}

/// TCP over IPv4, as far as the control connection needs it.
package enum ControlSocket {
  /// The address that stands for all interfaces.
  package static let anyAddress = "0.0.0.0"

  /// Opens a socket that accepts connections on a port the kernel picks.
  ///
  /// - Parameter host: a numeric address of this machine, or ``anyAddress``.
  /// - Returns: the descriptor, which never blocks, and the port.
  /// - Throws: ``UserError``.
  package static func listen(on host: String) throws(UserError) -> (descriptor: Int32, port: UInt16)
  {
    guard var address = makeAddress(host, port: 0) else {
      throw UserError(
        .usage, at: "--control-address", "\"\(host.prefix(80))\" is not an IPv4 address",
        fix: "write a numeric address of this machine, for example 10.0.0.1")
    }
    let descriptor = open()
    let isListening = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard descriptor >= 0, isListening, Glibc.listen(descriptor, 4096) == 0 else {
      let text = systemErrorText()
      if descriptor >= 0 { close(descriptor) }
      throw UserError(
        .system, at: host, "cannot listen for the ranks: \(text)",
        fix: "give an address of this machine with --control-address")
    }
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(descriptor, $0, &length)
      }
    }
    return (descriptor, UInt16(bigEndian: address.sin_port))
  }

  /// A connection, within a time.
  ///
  /// - Parameters:
  ///   - host: a numeric address.
  ///   - port: of the launcher.
  ///   - milliseconds: to wait for an answer.
  /// - Returns: a descriptor that never blocks; nil when there is no connection.
  static func connect(to host: String, port: UInt16, milliseconds: Int32) -> Int32? {
    guard var address = makeAddress(host, port: port) else { return nil }
    let descriptor = open()
    guard descriptor >= 0 else { return nil }
    let code = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if code == 0 { return descriptor }
    var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    var failure: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    if errno == EINPROGRESS, unsafe poll(&polled, 1, milliseconds) == 1,
      unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) == 0, failure == 0
    {
      return descriptor
    }
    close(descriptor)
    return nil
  }

  /// The next connection that waits; nil when there is none.
  package static func accept(_ listener: Int32) -> Int32? {
    let descriptor = Glibc.accept(listener, nil, nil)
    guard descriptor >= 0 else { return nil }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    sendAtOnce(descriptor)
    return descriptor
  }

  /// What has arrived.
  package enum Input { case nothing, closed, bytes([UInt8]) }

  /// Reads what there is, without waiting.
  package static func receive(_ descriptor: Int32) -> Input {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    if count > 0 { return .bytes(Array(buffer[..<count])) }
    if count < 0 && (errno == EAGAIN || errno == EINTR) { return .nothing }
    return .closed
  }

  /// Sends a message as a whole.
  ///
  /// - Returns: false when the connection is broken, or so full that its reader has stopped.
  package static func send(_ message: ControlMessage, to descriptor: Int32) -> Bool {
    let bytes = message.bytes
    let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
    while true {
      let count = unsafe Glibc.send(descriptor, bytes, bytes.count, flags)
      if count < 0 && errno == EINTR { continue }
      return count == bytes.count
    }
  }

  /// Numeric IPv4 addresses of this machine by which others may reach it.
  package static func ownAddresses() -> [String] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var addresses: [String] = []
    var next = unsafe list
    while let entry = unsafe next {
      unsafe next = unsafe entry.pointee.ifa_next
      let isUp = unsafe entry.pointee.ifa_flags & UInt32(IFF_UP) != 0
      guard isUp, let address = unsafe entry.pointee.ifa_addr,
        unsafe Int32(address.pointee.sa_family) == AF_INET
      else { continue }
      let number = unsafe address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
        unsafe UInt32(bigEndian: $0.pointee.sin_addr.s_addr)
      }
      if number >> 24 == 127 { continue }
      addresses.append(
        [24, 16, 8, 0].map { "\(number >> UInt32($0) & 255)" }.joined(separator: "."))
    }
    return addresses
  }

  private static func open() -> Int32 {
    let kind = SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = socket(AF_INET, Int32(kind), 0)
    if descriptor >= 0 { sendAtOnce(descriptor) }
    return descriptor
  }

  private static func sendAtOnce(_ descriptor: Int32) {
    var on: Int32 = 1
    _ = unsafe setsockopt(
      descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
  }

  private static func makeAddress(_ host: String, port: UInt16) -> sockaddr_in? {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    guard unsafe inet_pton(AF_INET, host, &address.sin_addr) == 1 else { return nil }
    return address
  }
}
