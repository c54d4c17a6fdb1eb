internal import ComputeCPU

/// The library that computes matrix products, as far as it decides the bits of results.
package enum ComputeLibrary {
  /// For example `oneDNN 2.6.3`.
  package static var version: String { "oneDNN \(CPUBackend.libraryVersion)" }

  /// What it uses in this process, for example `avx512_core_bf16`.
  package static var instructionSet: String { CPUBackend.instructionSet }
}
