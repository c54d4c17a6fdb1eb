import DistributedTraining
import Glibc
import Support

let arguments = Array(CommandLine.arguments.dropFirst())
if let code = HiddenCommands.run(arguments: arguments) { exit(code) }

do {
  let environment = try ProgramEnvironment(KernelFile.environment())
  exit(try Command.run(arguments, environment: environment))
} catch {
  Console.report(error)
  exit((error as? UserError)?.exitCode ?? ExitCode.failure)
}
