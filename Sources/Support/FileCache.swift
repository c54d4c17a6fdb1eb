internal import Glibc

/// A directory of files that can be made again: kept up to a size, the least recently used go first.
///
/// Whoever reads a file holds a shared lock on it, so that no process of this host or of another on
/// a shared disk removes it meanwhile. Files that were used within the last hour stay, too: ranks
/// that wait for one open it a little later than the rank that made it.
package struct FileCache: Sendable {
  private let directory: String
  private let byteLimit: Int

  private static let quietSeconds = 3600
  /// A file that is being written is touched more often; one that is not was left by a crash.
  private static let unfinishedSeconds = 86400

  package init(directory: String, byteLimit: Int) {
    self.directory = directory
    self.byteLimit = byteLimit
  }

  private struct Entry {
    var path: String
    var byteCount: Int
    /// Since 1970.
    var nanoseconds: Int
  }

  /// Removes what is too much.
  ///
  /// A file that cannot be looked at or removed stays.
  ///
  /// - Parameter now: seconds since 1970.
  /// - Returns: how many files were removed.
  @discardableResult
  package func prune(now: Int = time(nil)) -> Int {
    guard let names = try? FileSystem.list(directory) else { return 0 }
    var entries: [Entry] = []
    for name in names {
      var info = stat()
      let path = "\(directory)/\(name)"
      guard unsafe lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFREG else { continue }
      entries.append(
        Entry(
          path: path, byteCount: Int(info.st_size),
          nanoseconds: info.st_mtim.tv_sec * 1_000_000_000 + info.st_mtim.tv_nsec))
    }
    entries.sort { $0.nanoseconds < $1.nanoseconds }
    var total = entries.reduce(0) { $0 + $1.byteCount }
    var removedCount = 0
    for entry in entries {
      let age = now - entry.nanoseconds / 1_000_000_000
      let isUnfinished = FileSystem.name(of: entry.path).contains(".")
      guard isUnfinished ? age > Self.unfinishedSeconds : age > Self.quietSeconds,
        isUnfinished || total > byteLimit, Self.removeUnused(entry.path)
      else { continue }
      total -= entry.byteCount
      removedCount += 1
    }
    return removedCount
  }

  /// Removes a file that nobody holds; false where somebody does.
  private static func removeUnused(_ path: String) -> Bool {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return false }
    return unsafe unlink(path) == 0
  }
}

extension MappedFile {
  /// Tells that a file of a cache is in use, for as long as this value lives, and when it was.
  ///
  /// - Returns: whether the file is there to stay; it may have been removed since it was opened.
  package func holdInCache() -> Bool { withDescriptor { Self.hold($0) } }

  private static func hold(_ descriptor: Int32) -> Bool {
    // A disk without locks removes nothing either.
    if flock(descriptor, LOCK_SH | LOCK_NB) != 0, errno == EWOULDBLOCK { return false }
    var info = stat()
    guard unsafe fstat(descriptor, &info) == 0, info.st_nlink > 0 else { return false }
    // A cache of somebody else may be read, but not touched.
    _ = futimens(descriptor, nil)
    return true
  }
}
