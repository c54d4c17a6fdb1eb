package import Support

/// What `launch` asks each host before the start.
package struct HostRequest: Sendable, Equatable {
  /// A file or directory that every rank reads.
  package struct Path: Sendable, Equatable {
    /// For errors, for example `--model`.
    package var flag: String
    /// Absolute.
    package var path: String

    package init(flag: String, path: String) {
      self.flag = flag
      self.path = path
    }
  }

  /// The file of mpirun, which stands beside the daemon that starts ranks.
  package var mpirun: String
  package var paths: [Path]

  package init(mpirun: String, paths: [Path]) {
    self.mpirun = mpirun
    self.paths = paths
  }

  package var json: JSONValue {
    let paths = paths.map {
      JSONValue.object(JSONObject([("flag", .string($0.flag)), ("path", .string($0.path))]))
    }
    return .object(JSONObject([("mpirun", .string(mpirun)), ("paths", .array(paths))]))
  }

  /// - Returns: nil for anything but ``json``.
  package init?(_ json: JSONValue) {
    guard let mpirun = json["mpirun"]?.stringValue, let list = json["paths"]?.arrayValue else {
      return nil
    }
    self.mpirun = mpirun
    paths = []
    for item in list {
      guard let flag = item["flag"]?.stringValue, let path = item["path"]?.stringValue else {
        return nil
      }
      paths.append(Path(flag: flag, path: path))
    }
  }
}
