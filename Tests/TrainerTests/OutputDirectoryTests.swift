import Support
import Testing
import Trainer

@Suite struct OutputDirectoryTests {
  @Test func theFirstFreeNameIsTaken() throws {
    try withTemporaryDirectory { directory in
      try FileSystem.makeDirectories("\(directory)/runs/demo-3")
      for number in [1, 2, 4] {
        #expect(
          try OutputDirectory.makeFirstFree(name: "demo", under: "\(directory)/runs")
            == "\(directory)/runs/demo-\(number)")
      }
      #expect(try FileSystem.list("\(directory)/runs").count == 4)
    }
  }

  @Test(arguments: ["metrics.jsonl", "adapter_config.json", "checkpoint-20"])
  func aRunIsNotOverwritten(_ name: String) throws {
    try withTemporaryDirectory { directory in
      try FileSystem.writeAtomically("", to: "\(directory)/notes.txt")
      try OutputDirectory.check(directory, resumes: false)
      try FileSystem.writeAtomically("", to: "\(directory)/\(name)")
      let error = try #require(throws: UserError.self) {
        try OutputDirectory.check(directory, resumes: false)
      }
      #expect(error.message.contains(name))
      try OutputDirectory.check(directory, resumes: true)
      #expect(throws: UserError.self) {
        try OutputDirectory.check("\(directory)/notes.txt", resumes: false)
      }
    }
  }

  @Test func theNewestCheckpointIsByNumber() throws {
    try withTemporaryDirectory { directory in
      #expect(try OutputDirectory.newestCheckpoint(in: directory) == nil)
      for name in ["checkpoint-9", "checkpoint-10", "checkpoint-011", "checkpoint-99.tmp"] {
        try FileSystem.makeDirectories("\(directory)/\(name)")
      }
      let newest = try OutputDirectory.newestCheckpoint(in: directory)
      #expect(newest?.step == 10)
      #expect(newest?.path == "\(directory)/checkpoint-10")
    }
  }
}
