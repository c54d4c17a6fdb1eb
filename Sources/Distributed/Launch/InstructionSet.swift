/// The levels of instructions that oneDNN chooses from, by name.
///
/// Products of different levels differ in their last bits, so all ranks of a job must use one.
package enum InstructionSet {
  /// The environment variable that limits oneDNN.
  package static let variable = "ONEDNN_MAX_CPU_ISA"

  /// Each level and the one below it. AVX2 with VNNI is no part of AVX-512.
  private static let below: [String: String] = [
    "avx": "sse41", "avx2": "avx", "avx2_vnni": "avx2", "avx2_vnni_2": "avx2_vnni",
    "avx512_core": "avx2", "avx512_core_vnni": "avx512_core",
    "avx512_core_bf16": "avx512_core_vnni", "avx512_core_fp16": "avx512_core_bf16",
    "avx512_core_amx": "avx512_core_fp16", "avx512_core_amx_fp16": "avx512_core_amx",
  ]

  /// The highest level that all of these include.
  ///
  /// - Parameter names: at least one, as oneDNN's shim spells them.
  /// - Returns: nil when they differ and one of them is not known.
  package static func common(_ names: [String]) -> String? {
    guard var result = names.first else { return nil }
    for name in names where name != result {
      let levels = chain(name)
      guard let shared = chain(result).first(where: { levels.contains($0) }) else { return nil }
      result = shared
    }
    return result
  }

  /// The value of ``variable`` for a level; nil for one that cannot be asked for.
  package static func setting(_ name: String) -> String? {
    name == "sse41" || below[name] != nil ? name.uppercased() : nil
  }

  /// The level and all below it, from the top; empty for an unknown one.
  private static func chain(_ name: String) -> [String] {
    guard setting(name) != nil else { return [] }
    return Array(sequence(first: name) { below[$0] })
  }
}
