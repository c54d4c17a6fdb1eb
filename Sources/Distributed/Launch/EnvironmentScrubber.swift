/// Prepares the environment of `mpirun`.
///
/// Open MPI copies its settings from `OMPI_MCA_*` onto the command lines that its remote shells
/// run, without quoting: a value with a quote and a semicolon is a command on every host. Values
/// with anything but plain characters are dropped. Traces of another job (this program may be
/// started inside one) are dropped as well, or mpirun and its ranks would believe to be part of it.
package struct EnvironmentScrubber {
  package private(set) var environment: [String: String] = [:]
  /// One line for each setting that was dropped because of its value.
  package private(set) var warnings: [String] = []

  private static let settingPrefixes = ["OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_"]
  private static let rootVariables = [
    "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_ALLOW_RUN_AS_ROOT",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
  ]
  private static let jobPrefixes = ["OMPI_", "PMIX_", "PRTE_", "PMI_", "ORTE_", "SLURM_"]

  /// - Parameter variables: the environment to clean.
  package init(_ variables: [String: String]) {
    for (name, value) in variables.sorted(by: { $0.key < $1.key }) {
      let isSetting = Self.settingPrefixes.contains { name.hasPrefix($0) }
      if isSetting {
        if Self.isPlain(value) && Self.isPlain(name) {
          environment[name] = value
        } else {
          warnings.append(
            "warning: the environment variable \(Self.printable(name)) is ignored: its value has "
              + "characters that a remote shell would act on")
        }
      } else if Self.rootVariables.contains(name) && Self.isPlain(value) {
        environment[name] = value
      } else if !Self.jobPrefixes.contains(where: { name.hasPrefix($0) }) {
        environment[name] = value
      }
    }
  }

  /// `^[A-Za-z0-9_.,:/^+-]*$`
  static func isPlain(_ value: String) -> Bool {
    value.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: "_.,:/^+-".utf8.contains(byte)
      }
    }
  }

  private static func printable(_ name: String) -> String {
    String(decoding: name.utf8.prefix(80).filter { (0x21...0x7E).contains($0) }, as: UTF8.self)
  }

  /// Open MPI settings that the user made, without the prefix: `launch` leaves these alone.
  package var settings: Set<String> {
    Set(
      environment.keys.compactMap { name in
        Self.settingPrefixes.first { name.hasPrefix($0) }.map { String(name.dropFirst($0.count)) }
      })
  }

  /// Variables that ranks on other hosts get. Their values stay out of every command line.
  package var forwardedNames: [String] {
    let names = [
      "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SWIFT_BACKTRACE", InstructionSet.variable,
    ]
    let prefixes = ["ACCELERATE_", "NCCL_"]
    let secrets = ["KEY", "TOKEN", "SECRET", "PASSWORD"]
    return environment.keys.filter { name in
      (names.contains(name) || prefixes.contains { name.hasPrefix($0) })
        && Self.isPlain(name)
        && !secrets.contains { name.uppercased().contains($0) }
    }.sorted()
  }

  /// Removes a setting of Open MPI that the user made.
  package mutating func removeSetting(_ name: String) {
    for prefix in Self.settingPrefixes { environment[prefix + name] = nil }
  }

  /// Sets a variable for mpirun and its ranks, or removes it.
  package mutating func set(_ name: String, _ value: String?) { environment[name] = value }
}
