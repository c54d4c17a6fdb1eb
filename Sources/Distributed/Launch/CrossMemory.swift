internal import CMPI

/// Whether one process may read the memory of another of the same user, which Open MPI uses to
/// move large messages between ranks of a host with one copy. Containers often forbid it, and
/// Open MPI then prints errors.
package enum CrossMemory {
  package static func isAllowed() -> Bool {
    // Open MPI itself wants 0 here; a kernel without the file has no such restriction.
    let scope = KernelFile.firstLine("/proc/sys/kernel/yama/ptrace_scope") ?? "0"
    return scope == "0" && cmpi_can_read_process_memory()
  }
}
