import DistributedTraining
import Support
import Trainer

/// `env`: the machine, MPI and NVIDIA's libraries as this program finds them.
enum EnvironmentCommand {
  static let helpText = """
    usage: accelerate-swift env

    Prints the machine and the libraries that are opened at run time: Open MPI, and NVIDIA's driver,
    NVRTC, cuBLASLt and NCCL, each with its version and path. NVIDIA's are looked for in the folders of
    ACCELERATE_CUDA_LIB_DIR, at the path in ACCELERATE_NVRTC_LIB and the like, where the system's loader
    looks, in the CUDA toolkit's folders and in Python wheels.

    """

  static func run(_ arguments: [String], environment: ProgramEnvironment) throws(UserError) -> Int32
  {
    if arguments == ["--help"] || arguments == ["-h"] {
      Console.writeOutput(helpText)
      return ExitCode.success
    }
    if let word = arguments.first {
      throw UserError(
        .usage, at: "env", "takes no arguments, but \"\(word.prefix(80))\" was given",
        fix: "leave it out")
    }
    let variables = KernelFile.environment()
    var lines = MachineReport.lines(environment)
    do throws(UserError) {
      let mpi = try MPIInstallation(path: variables["PATH"] ?? "", environment: variables)
      lines.append(("Open MPI", "\(mpi.majorVersion), \(mpi.mpirun)"))
    } catch {
      lines.append(("Open MPI", "not found; several ranks need it: apt-get install openmpi-bin"))
    }
    let width = lines.map(\.name.count).max() ?? 0
    for (name, text) in lines {
      let padding = String(repeating: " ", count: width - name.count)
      Console.writeOutput("\(name)\(padding)  \(text)\n")
    }
    return ExitCode.success
  }
}
