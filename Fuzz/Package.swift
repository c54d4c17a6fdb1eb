// swift-tools-version: 6.2
import PackageDescription

// Fuzzing of whatever reads files of a user: `make fuzz`. A package of its own, because sanitizers
// need another build of Data and Support; their folders are links.

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "fuzz",
  targets: [
    .target(name: "CYAML", linkerSettings: [.linkedLibrary("yaml")]),
    .target(name: "CZlib", linkerSettings: [.linkedLibrary("z")]),
    .target(name: "Support", dependencies: ["CYAML", "CZlib"], swiftSettings: settings),
    .target(name: "Data", dependencies: ["Support"], swiftSettings: settings),
    .executableTarget(name: "Fuzz", dependencies: ["Data", "Support"], swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
