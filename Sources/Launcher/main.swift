import Glibc
import Support

// The general command line replaces this file; launch and the hidden subcommands stay as they are.
let arguments = Array(CommandLine.arguments.dropFirst())
if let code = HiddenCommands.run(arguments: arguments) { exit(code) }
guard arguments.first == "launch" else {
  LaunchTerminal.print("usage: accelerate-swift launch [flags] <command> [arguments]")
  exit(ExitCode.usage)
}
exit(LaunchCommand.run(arguments: Array(arguments.dropFirst())))
