internal import ComputeCUDA
internal import DistributedTraining
package import Support

/// What this machine can compute with, for people.
package enum MachineReport {
  /// Lines of a name and what was found: processor, its library, NVIDIA's libraries.
  package static func lines(_ environment: ProgramEnvironment) -> [(name: String, text: String)] {
    [
      ("program", "accelerate-swift \(programVersion)"),
      (
        "host",
        "\(CPUBudget.coreCount()) cores, \(ByteText.short(HostMemory.availableByteCount())) of "
          + "memory free"
      ),
      ("CPU products", "\(ComputeLibrary.version), \(ComputeLibrary.instructionSet)"),
      ("cache", environment.cacheDirectory),
    ] + LibraryReport.lines(LibrarySearch(environment.libraryVariables))
      + GPUPlacement.lines(environment)
  }
}
