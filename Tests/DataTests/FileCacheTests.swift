import Data
import Support
import Testing

@Suite struct FileCacheTests {
  static let now = 2_000_000_000

  /// Files of ten bytes, the first used longest ago; they seem to be made at this very time.
  static func directory(_ names: [String]) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    for name in names {
      try directory.write(name, [UInt8](repeating: 1, count: 10))
      // Times of files have the clock's ticks, of a few milliseconds.
      let wait = ContinuousClock.now + .milliseconds(20)
      while ContinuousClock.now < wait {}
    }
    return directory
  }

  static func names(_ directory: TemporaryDirectory) throws -> [String] {
    try FileSystem.list(directory.path).sorted()
  }

  @Test func theLeastRecentlyUsedGoFirst() throws {
    let directory = try Self.directory(["a", "b", "c", "d"])
    let cache = FileCache(directory: directory.path, byteLimit: 25)
    // To read one is to use it.
    #expect(try MappedFile(path: directory.path + "/a").holdInCache())
    #expect(cache.prune(now: Self.now) == 2)
    #expect(try Self.names(directory) == ["a", "d"])
    #expect(cache.prune(now: Self.now) == 0)
  }

  @Test func whatIsReadStays() throws {
    let directory = try Self.directory(["a", "b", "c"])
    let cache = FileCache(directory: directory.path, byteLimit: 0)
    let held = try MappedFile(path: directory.path + "/b")
    #expect(held.holdInCache())
    #expect(cache.prune(now: Self.now) == 2)
    #expect(try Self.names(directory) == ["b"])
    #expect(try held.readBytes(0..<10).count == 10)
    withExtendedLifetime(held) {}
  }

  @Test func whatWasUsedWithinTheHourStays() throws {
    let directory = try Self.directory(["a", "b"])
    #expect(FileCache(directory: directory.path, byteLimit: 0).prune() == 0)
    #expect(try Self.names(directory) == ["a", "b"])
  }

  /// Temporary files of a process that was killed go after a day, whatever the limit.
  @Test func leftoversGo() throws {
    let directory = try Self.directory(["a", "k.tmp.17-4", "k.rows.99"])
    #expect(FileCache(directory: directory.path, byteLimit: 1000).prune(now: Self.now) == 2)
    #expect(try Self.names(directory) == ["a"])
  }

  /// A file that was removed between its opening and its lock counts as missing.
  @Test func aRemovedFileIsNotHeld() throws {
    let directory = try Self.directory(["a"])
    let file = try MappedFile(path: directory.path + "/a")
    #expect(FileCache(directory: directory.path, byteLimit: 0).prune(now: Self.now) == 1)
    #expect(!file.holdInCache())
  }
}
