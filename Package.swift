// swift-tools-version: 6.2
import PackageDescription

// Folders are modules and arrows point one way; ArchitectureTests holds the table.

/// Every Swift target is compiled with the same strict settings.
let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

// The CPU kernels are written with SIMD types. On x86-64 they are compiled for AVX2 and FMA
// (x86-64-v3, every server processor since 2015); arm64 needs no flag.
#if arch(x86_64)
  let vectorISA: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]
#else
  let vectorISA: [SwiftSetting] = []
#endif

// Where distributions keep Open MPI's <mpi.h>; folders that do not exist are ignored. Only its types
// are used: the library itself is opened at run time, so nothing is linked.
let mpiIncludeFolders = [
  "/usr/lib/x86_64-linux-gnu/openmpi/include",  // Debian, Ubuntu
  "/usr/lib/aarch64-linux-gnu/openmpi/include",
  "/usr/include/openmpi-x86_64",  // Fedora, RHEL
  "/usr/include/openmpi-aarch64",
  "/usr/lib64/openmpi/include",
  "/usr/lib64/mpi/gcc/openmpi4/include",  // openSUSE
  "/usr/lib/openmpi/include",
  "/usr/local/include",
  "/opt/openmpi/include",
]

let package = Package(
  name: "accelerate-swift",
  products: [.executable(name: "accelerate-swift", targets: ["Launcher"])],
  targets: [
    // C shims. Each names the one library it speaks to.
    .target(name: "CYAML", linkerSettings: [.linkedLibrary("yaml")]),
    .target(name: "CZlib", linkerSettings: [.linkedLibrary("z")]),
    // The demo's model and data, embedded in the program.
    .target(
      name: "CDemo", exclude: ["files"],
      cSettings: [.unsafeFlags(["-std=c23", "-Wno-c23-extensions"])]),
    // The CUDA kernels as text, and NVIDIA's libraries opened at run time.
    .target(
      name: "CCUDA", exclude: ["kernels"],
      cSettings: [.unsafeFlags(["-std=c23", "-Wno-c23-extensions"])]),
    .target(name: "COneDNN", linkerSettings: [.linkedLibrary("dnnl")]),
    .target(name: "CMPI", cSettings: [.unsafeFlags(mpiIncludeFolders.map { "-I\($0)" })]),

    .target(name: "Support", dependencies: ["CYAML", "CZlib"], swiftSettings: strict),
    .target(name: "Compute", dependencies: ["Support"], swiftSettings: strict),
    .target(
      name: "ComputeCPU", dependencies: ["Compute", "COneDNN", "Support"],
      swiftSettings: strict + vectorISA),
    .target(
      name: "ComputeCUDA", dependencies: ["Compute", "CCUDA", "Support"], swiftSettings: strict),
    // Operations on two devices side by side, and how fast one is.
    .target(name: "BackendChecks", dependencies: ["Compute", "Support"], swiftSettings: strict),
    .target(name: "Model", dependencies: ["Compute", "Support"], swiftSettings: strict),
    .target(name: "Optim", dependencies: ["Compute"], swiftSettings: strict),
    .target(name: "Data", dependencies: ["Support"], swiftSettings: strict),
    // A target named "Distributed" would be replaced by the standard library's module of that
    // name wherever a dependency is forgotten.
    .target(
      name: "DistributedTraining", dependencies: ["Compute", "Support", "CMPI"],
      path: "Sources/Distributed", swiftSettings: strict),
    .target(
      name: "Trainer",
      dependencies: [
        "Data", "Model", "Optim", "DistributedTraining", "ComputeCPU", "ComputeCUDA",
        "BackendChecks", "Compute", "Support", "CDemo",
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "Launcher", dependencies: ["Trainer", "DistributedTraining", "Support"],
      swiftSettings: strict),

    // Trainings that transformers and peft recorded, for any backend.
    .target(
      name: "GoldenReference",
      dependencies: ["Trainer", "DistributedTraining", "Model", "Optim", "Compute", "Support"],
      path: "Tests/GoldenReference", swiftSettings: strict),
    .testTarget(
      name: "GoldenTests",
      dependencies: [
        "GoldenReference", "Trainer", "DistributedTraining", "Model", "Optim", "ComputeCPU",
        "Compute", "Support", "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "ArchitectureTests", dependencies: ["Trainer", "DistributedTraining", "Support"],
      swiftSettings: strict),
    .testTarget(name: "SupportTests", dependencies: ["Support"], swiftSettings: strict),
    .testTarget(
      name: "TrainerTests", dependencies: ["Trainer", "Model", "Support"], exclude: ["Snapshots"],
      swiftSettings: strict),
    .testTarget(
      name: "DistributedTests", dependencies: ["DistributedTraining", "Support"],
      swiftSettings: strict),
    // Depends on Launcher so that the program is built: the tests run it.
    .testTarget(
      name: "LauncherTests",
      dependencies: ["Launcher", "DistributedTraining", "Support", "TestSupport"],
      exclude: ["FakeDriver"],
      swiftSettings: strict),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "Launcher", "Trainer", "DistributedTraining", "Model", "ComputeCPU", "Compute", "Support",
        "TestSupport",
      ],
      swiftSettings: strict),
    // Kills, stops and hangs ranks of real jobs; it takes minutes.
    .testTarget(
      name: "SupervisionTests", dependencies: ["Launcher", "DistributedTraining", "Support"],
      swiftSettings: strict),
    .testTarget(
      name: "SelfTestTests",
      dependencies: [
        "Launcher", "Trainer", "DistributedTraining", "ComputeCPU", "Compute", "Support",
        "TestSupport",
      ],
      swiftSettings: strict),
    // Runs the program on models of real size.
    .testTarget(
      name: "PlanTests", dependencies: ["Launcher", "Trainer", "Support", "TestSupport"],
      exclude: ["Snapshots"], swiftSettings: strict),
    .testTarget(name: "DataTests", dependencies: ["Data", "Support"], swiftSettings: strict),
    // Seeded tensors, error measures, a reference of every operation in double precision, and the
    // program as a child process.
    .target(
      name: "TestSupport", dependencies: ["Compute", "DistributedTraining", "Support"],
      path: "Tests/TestSupport",
      swiftSettings: strict),
    .testTarget(
      name: "ModelTests",
      dependencies: ["Trainer", "Model", "ComputeCPU", "Compute", "Support", "TestSupport"],
      swiftSettings: strict),
    // The CUDA kernels compiled for the CPU, their threads as fibers.
    .target(
      name: "CUDAEmulation", path: "Tests/CUDAEmulation", sources: ["emulation.cpp", "fibers.cpp"],
      cxxSettings: [
        .headerSearchPath("emulated"), .headerSearchPath("../../Sources/CCUDA/kernels"),
        // Bits are compared with those of the CPU, which fuses nothing.
        .unsafeFlags(["-std=c++17", "-ffp-contract=off"]),
      ], linkerSettings: [.linkedLibrary("m")]),
    .testTarget(
      name: "ComputeCUDATests",
      dependencies: [
        "CUDAEmulation", "GoldenReference", "Launcher", "Trainer", "BackendChecks",
        "DistributedTraining", "Model",
        "Optim", "ComputeCUDA",
        "ComputeCPU", "Compute", "Support", "TestSupport",
      ],
      // A driver without a GPU, which the tests compile.
      exclude: ["FakeDriver"], swiftSettings: strict),
    .testTarget(
      name: "ComputeCPUTests", dependencies: ["Compute", "ComputeCPU", "Support", "TestSupport"],
      swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
