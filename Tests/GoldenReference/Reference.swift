internal import Foundation
package import Model
internal import Support

/// The directory of reference data, which is not part of the project.
package enum Reference {
  package static let directory: String = {
    let root = ProcessInfo.processInfo.environment["ACCELERATE_SHARED"] ?? "../shared"
    return "\(root)/reference"
  }()
  package static let isAvailable = FileManager.default.fileExists(
    atPath: directory + "/trajectories")
  package static let reason = "no reference data at \(directory); set ACCELERATE_SHARED"

  /// Token rows of `batches.jsonl`, packs of four consecutive rows.
  package static func packs() throws -> [PackInput] {
    let text = try FileSystem.readText("\(directory)/trajectories/common/batches.jsonl")
    let rows = try text.split(separator: "\n").map { line in
      let row = try JSONParser.parse(String(line))
      func ids(_ name: String) -> [Int32] {
        row[name]?.arrayValue?.compactMap { $0.intValue.map { Int32($0) } } ?? []
      }
      return (tokens: ids("input_ids"), labels: ids("labels"))
    }
    return stride(from: 0, to: rows.count, by: 4).map { first in
      var pack = PackInput(
        tokens: [], positions: [], sampleIndices: [], boundaries: [0], targetRows: [], targets: [])
      for sample in first..<first + 4 {
        let (tokens, labels) = rows[sample]
        for position in tokens.indices {
          if position + 1 < tokens.count, labels[position + 1] >= 0 {
            pack.targetRows.append(Int32(pack.tokens.count + position))
            pack.targets.append(labels[position + 1])
          }
        }
        pack.tokens += tokens
        pack.positions += (0..<Int32(tokens.count))
        pack.sampleIndices += [Int32](repeating: Int32(sample), count: tokens.count)
        pack.boundaries.append(pack.tokens.count)
      }
      return pack
    }
  }
}
