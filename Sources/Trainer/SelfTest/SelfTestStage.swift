internal import Compute
internal import Data
internal import DistributedTraining
internal import Model
internal import Support

/// A base that trials run on.
struct TrialModel: Hashable {
  enum Weights { case demo, dense }
  var weights: Weights
  var isNF4 = false
  var isBFloat16 = false

  static let float32 = TrialModel(weights: .demo)
  static let nf4 = TrialModel(weights: .demo, isNF4: true)
  static let bfloat16 = TrialModel(weights: .demo, isBFloat16: true)
  static let dense = TrialModel(weights: .dense)

  var name: String {
    (weights == .demo ? "mixture" : "dense")
      + (isNF4 ? ", nf4" : isBFloat16 ? ", bf16" : ", float32")
  }
}

/// What the checks share: the ranks, devices, bases and samples.
final class SelfTestStage {
  let configuration: SelfTestConfiguration
  let group: any ProcessGroup
  /// For the files of this rank; removed at the end.
  let directory: String
  private let demo: Demo.Paths
  private let makeBackend: (ModelOptions) throws -> any Backend
  private var backends: [BackendKey: any Backend] = [:]
  private var bases: [BaseKey: LoadedBase] = [:]
  private var sampleLists: [TrialModel.Weights: [Sample]] = [:]

  private struct BackendKey: Hashable {
    var isBFloat16: Bool
    var threads: Int?
  }

  private struct BaseKey: Hashable {
    var model: TrialModel
    var threads: Int?
  }

  init(
    configuration: SelfTestConfiguration, environment: ProgramEnvironment,
    group: any ProcessGroup, makeBackend: @escaping (ModelOptions) throws -> any Backend
  ) throws {
    self.configuration = configuration
    self.group = group
    self.makeBackend = makeBackend
    demo = try Demo.materialize(cacheDirectory: environment.cacheDirectory)
    directory = "\(environment.cacheDirectory)/test-\(UInt64.random(in: 0 ... .max))"
    try FileSystem.makeDirectories(directory)
  }

  func removeFiles() { try? FileSystem.remove(directory) }

  var seed: UInt64 { UInt64(bitPattern: Int64(configuration.seed)) }

  /// How many hosts the ranks are on.
  func hostCount() throws -> Int {
    let host = try group.splitByHost()
    let isFirst = host.rank == 0
    try host.shutdown()
    return try group.allGather([isFirst ? 1 : 0]).count { $0 == [1] }
  }

  /// Runs `body` on the first ranks together; the others wait.
  ///
  /// - Parameters:
  ///   - count: of ranks.
  ///   - body: takes their group.
  /// - Returns: its result; nil on the ranks that waited.
  /// - Throws: what `body` or the network throws.
  func onFirstRanks<Result>(_ count: Int, _ body: (any ProcessGroup) throws -> Result) throws
    -> Result?
  {
    let isMember = group.rank < count
    let part = try group.split(color: isMember ? 0 : 1)
    let result = isMember ? try body(part) : nil
    try part.shutdown()
    try group.barrier()
    return result
  }

  /// The device, with so many threads or as many as the settings say.
  func backend(_ model: TrialModel, threads: Int? = nil) throws -> any Backend {
    let key = BackendKey(isBFloat16: model.isBFloat16, threads: threads)
    if let backend = backends[key] { return backend }
    let backend = try makeBackend(
      configuration.modelOptions(isBFloat16: model.isBFloat16, threads: threads))
    backends[key] = backend
    return backend
  }

  /// A base, held by this rank for itself or as the placement says.
  func base(_ model: TrialModel, placement: BasePlacement, threads: Int? = nil) throws
    -> LoadedBase
  {
    let backend = try backend(model, threads: threads)
    let isOwn = if case .own = placement { true } else { false }
    let key = BaseKey(model: model, threads: threads)
    if isOwn, let base = bases[key] { return base }
    let base = try LoadedBase(
      LoadedBase.Description(
        directory: modelDirectory(model.weights),
        quantization: QuantizationSettings(isNF4: model.isNF4, isDouble: model.isNF4),
        backend: backend),
      placement: placement, backend: backend)
    if isOwn { bases[key] = base }
    return base
  }

  private func modelDirectory(_ weights: TrialModel.Weights) throws -> String {
    guard weights == .dense else { return demo.model }
    let path = "\(directory)/dense"
    if !FileSystem.exists(path) { try DenseModel(seed: seed).write(path) }
    return path
  }

  /// The first samples that go with a model.
  func samples(_ model: TrialModel, count: Int) throws -> [Sample] {
    if let known = sampleLists[model.weights], known.count >= count {
      return Array(known.prefix(count))
    }
    let list: [Sample]
    if model.weights == .dense {
      list = DenseModel(seed: seed).samples(count)
    } else {
      guard case .options(let options) = try TrainConfiguration.parser.parse([]) else {
        preconditionFailure("no arguments ask for no help")
      }
      let settings = try TrainConfiguration(options.replacingDefaults(Demo.settings))
      let samples = try SampleSet.load(
        SampleSet.Request(
          sources: [DataSource(path: demo.trainingData)], options: settings.samples,
          trainOn: settings.trainOn, modelDirectory: demo.model, vocabularySize: 1024, limit: count),
        cache: TokenCache()
      ).training.dataset.samples
      list = try samples.indices.map { try samples.sample($0) }
    }
    sampleLists[model.weights] = list
    return list
  }
}
