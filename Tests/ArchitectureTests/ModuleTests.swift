import Support
import Testing

/// Folders are modules, and arrows point one way.
@Suite struct ModuleTests {
  /// What each module may know, beside Glibc and Synchronization.
  static let allowed: [String: Set<String>] = [
    "CYAML": [], "CZlib": [], "COneDNN": [], "CMPI": [], "CCUDA": [], "CDemo": [],
    "Support": ["CYAML", "CZlib"],
    "Compute": ["Support"],
    "ComputeCPU": ["Compute", "Support", "COneDNN"],
    "ComputeCUDA": ["Compute", "Support", "CCUDA"],
    "BackendChecks": ["Compute", "Support"],
    "Model": ["Compute", "Support"],
    "Optim": ["Compute", "Support"],
    "Data": ["Support"],
    "DistributedTraining": ["Compute", "Support", "CMPI", "CCUDA"],
    "Trainer": [
      "Data", "Model", "Optim", "DistributedTraining", "ComputeCPU", "ComputeCUDA",
      "BackendChecks", "Compute", "Support", "CDemo",
    ],
    "Launcher": ["Trainer", "DistributedTraining", "Support"],
  ]

  static let testLibraries = ["TestSupport", "CUDAEmulation", "GoldenReference"]

  private static func folder(of module: String) -> String {
    module == "DistributedTraining" ? "Sources/Distributed" : "Sources/\(module)"
  }

  @Test func targetsDependOnWhatTheTableAllows() throws {
    let description = try Repository.describePackage()
    var seen: Set<String> = []
    for target in description["targets"]?.arrayValue ?? [] {
      let name = try #require(target["name"]?.stringValue)
      if target["type"] == "test" || Self.testLibraries.contains(name) { continue }
      let allowed = try #require(Self.allowed[name], "\(name) is not in the table")
      let dependencies = (target["target_dependencies"]?.arrayValue ?? []).compactMap(\.stringValue)
      #expect(Set(dependencies).subtracting(allowed) == [], "dependencies of \(name)")
      #expect(target["path"]?.stringValue == Self.folder(of: name))
      seen.insert(name)
    }
    #expect(seen.isSuperset(of: ["Support", "Compute", "Model", "Trainer", "Launcher"]))
    #expect(description["dependencies"]?.arrayValue == [], "no outside packages")
  }

  @Test func theTableHasNoCycles() {
    var settled: Set<String> = []
    while settled.count < Self.allowed.count {
      let next = Self.allowed.filter {
        !settled.contains($0.key) && settled.isSuperset(of: $0.value)
      }
      guard !next.isEmpty else {
        Issue.record("a cycle among \(Set(Self.allowed.keys).subtracting(settled))")
        return
      }
      settled.formUnion(next.keys)
    }
  }

  @Test func importsKeepToTheTable() throws {
    for (module, allowed) in Self.allowed {
      let system: Set = ["Glibc", "Synchronization"]
      for path in try Repository.files(under: Self.folder(of: module), endings: [".swift"]) {
        for name in try imports(path) where !system.contains(name) {
          #expect(allowed.contains(name), "\(path) imports \(name)")
        }
      }
    }
  }

  private func imports(_ path: String) throws -> [String] {
    try Repository.text(path).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ").map(String.init)
      guard let position = words.firstIndex(of: "import"), position + 1 < words.count,
        words[..<position].allSatisfy({
          ["internal", "package", "public", "private", "fileprivate"].contains($0)
            || $0.hasPrefix("@")
        })
      else { return nil }
      return words.last.map { String($0.prefix { $0 != "." }) }
    }
  }

  @Test func modelAndOptimizerKnowNoDevice() throws {
    for folder in ["Sources/Model", "Sources/Optim"] {
      for path in try Repository.files(under: folder, endings: [".swift"]) {
        let text = try Repository.text(path)
        for word in ["CUDA", "DistributedTraining", "worldSize"] {
          #expect(!text.contains(word), "\(path) mentions \(word)")
        }
      }
    }
  }
}
