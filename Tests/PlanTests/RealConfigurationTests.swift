import Foundation
import Support
import Testing
import Trainer

private enum RealConfigurations {
  static let root =
    (ProcessInfo.processInfo.environment["ACCELERATE_SHARED"] ?? "../shared") + "/data/configs"
}

/// Every `config.json` of real models that is at hand: planned, or refused with the reason.
@Suite(
  .enabled(
    if: FileSystem.isDirectory(RealConfigurations.root),
    "no configurations at \(RealConfigurations.root); set ACCELERATE_SHARED"))
struct RealConfigurationTests {
  private static let root = RealConfigurations.root

  /// Files that cannot be planned, and what the message says.
  static let refusals: [String: String] = [:]

  /// All JSON files, by their path below the root.
  static let files: [String] = {
    var found: [String] = []
    for folder in (try? FileSystem.list(root)) ?? [] {
      for name in (try? FileSystem.list("\(root)/\(folder)")) ?? [] where name.hasSuffix(".json") {
        found.append("\(folder)/\(name)")
      }
    }
    return found
  }()

  /// Others belong to a model or an adapter without being its configuration.
  static func isModel(_ file: String) -> Bool {
    (try? FileSystem.readJSON("\(root)/\(file)"))?["architectures"] != nil
  }

  @Test func allAreThere() {
    #expect(Self.files.count { Self.isModel($0) } == 27)
    for file in Self.refusals.keys { #expect(Self.files.contains(file)) }
  }

  static func plan(_ file: String) throws -> String {
    let configuration = try #require(
      try PlanCommand.configuration([
        "--model", "\(root)/\(file)", "--threads", "1", "--quant", "nf4", "--memory", "2000",
      ]))
    return try PlanCommand.describe(
      configuration, environment: ProgramEnvironment(cacheDirectory: "/nowhere")
    ).text
  }

  @Test(arguments: files.filter { isModel($0) })
  func everyModelIsPlannedOrRefused(_ file: String) throws {
    guard let reason = Self.refusals[file] else {
      let text = try Self.plan(file)
      #expect(text.contains("fits"), "\(text)")
      return
    }
    let error = #expect(throws: UserError.self) { try Self.plan(file) }
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
  }

  /// What is no model's configuration is named as such.
  @Test(arguments: files.filter { !isModel($0) })
  func otherFilesAreRefused(_ file: String) throws {
    let error = #expect(throws: UserError.self) { try Self.plan(file) }
    #expect(error?.message.contains("architectures") == true, "\(error?.message ?? "")")
  }
}
