package import Compute
internal import Glibc
package import Support

/// Memory that the ranks of one host share: one copy of what all of them read.
///
/// The first rank makes a file that is unlinked as soon as every rank has mapped it, so that nothing
/// is left whatever happens. It lies in shared memory where there is room, else in a directory.
package enum SharedHostMemory {
  /// Maps one new block of zeroed memory in every rank of a host.
  ///
  /// - Parameters:
  ///   - byteCount: of the block.
  ///   - group: the ranks of one host.
  ///   - directory: for the file when shared memory has too little room.
  /// - Returns: the block; writes of one rank are seen by the others after a barrier.
  /// - Throws: ``UserError`` when neither place has room.
  package static func make(byteCount: Int, group: any ProcessGroup, directory: String)
    throws(UserError) -> Storage
  {
    var path = ""
    var problem = ""
    if group.rank == 0 {
      do throws(UserError) {
        path = try createFile(byteCount, directory)
      } catch {
        problem = "\(error)"
      }
    }
    path = try group.broadcast(path)
    guard !path.isEmpty else {
      throw UserError(
        .system,
        "no room for \(byteCount) bytes of memory shared by the ranks of a host: \(problem)",
        fix: "free space in /dev/shm or \(directory), or give --shard full")
    }
    let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    let isOpen = try group.allAgree(descriptor >= 0)
    if group.rank == 0 { unsafe unlink(path) }
    guard isOpen else {
      if descriptor >= 0 { close(descriptor) }
      throw UserError(.system, at: path, "a rank of this host cannot open it")
    }
    defer { close(descriptor) }
    do {
      return try Storage(sharedFile: descriptor, byteCount: byteCount)
    } catch {
      throw UserError(.system, at: path, "\(error)")
    }
  }

  private static func createFile(_ byteCount: Int, _ directory: String) throws(UserError) -> String
  {
    var lastError = ""
    try FileSystem.makeDirectories(directory)
    for place in ["/dev/shm", directory] {
      // Unguessable by its process number and time is not enough: O_EXCL makes it ours.
      let path = "\(place)/accelerate-swift-\(getpid())-\(UInt64.random(in: 0 ... .max))"
      let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard descriptor >= 0 else {
        lastError = "\(place): \(systemErrorText())"
        continue
      }
      defer { close(descriptor) }
      // Takes the room at once, so that no write fails later.
      let status = posix_fallocate(descriptor, 0, byteCount)
      if status == 0 { return path }
      lastError = "\(place): \(systemErrorText(status))"
      unsafe unlink(path)
    }
    throw UserError(.system, lastError)
  }
}

extension ProcessGroup {
  /// The ranks of this group that run on the same host.
  ///
  /// - Returns: a group of its own.
  /// - Throws: ``UserError`` of kind `distributed`.
  package func splitByHost() throws(UserError) -> any ProcessGroup {
    let hosts = try allGather(HostName.current)
    return try split(color: hosts.firstIndex(of: hosts[rank]) ?? 0)
  }
}

package enum HostName {
  /// As the system has it.
  package static var current: String {
    var name = [CChar](repeating: 0, count: 256)
    unsafe gethostname(&name, name.count - 1)
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
