package import Support

/// What a host says of itself before the start.
package struct HostReport: Sendable, Equatable {
  package var programVersion: String
  /// SHA-256 of the program's file.
  package var programDigest: String
  /// The library of matrix products, and the instructions it uses there.
  package var computeLibrary: String
  package var instructionSet: String
  package var coreCount: Int
  /// Memory that new processes could take.
  package var availableByteCount: Int
  /// Open MPI's; nil when there is none under the name that was asked for.
  package var mpiMajorVersion: Int?
  /// `name address` of each network interface.
  package var interfaces: [String]
  /// The files asked for, in that order; nil for missing ones, else what is wrong with them.
  package var files: [Result<SharedFiles?, UserError>]

  package init(
    programVersion: String, programDigest: String, computeLibrary: String, instructionSet: String,
    coreCount: Int, availableByteCount: Int, mpiMajorVersion: Int?, interfaces: [String],
    files: [Result<SharedFiles?, UserError>]
  ) {
    self.programVersion = programVersion
    self.programDigest = programDigest
    self.computeLibrary = computeLibrary
    self.instructionSet = instructionSet
    self.coreCount = coreCount
    self.availableByteCount = availableByteCount
    self.mpiMajorVersion = mpiMajorVersion
    self.interfaces = interfaces
    self.files = files
  }

  /// Stands before the report in what a host prints: a login script may print, too.
  package static let mark = "accelerate-swift host report: "

  /// The line that a host prints.
  package var line: String {
    let files = files.map { file -> JSONValue in
      switch file {
      case .success(nil): return .null
      case .success(let shared?):
        return .object(
          JSONObject([
            ("fingerprint", .string(shared.fingerprint)),
            ("bytes", .integer(shared.tensorByteCount)),
            ("elements", .integer(shared.elementCount)),
          ]))
      case .failure(let error): return .string(error.description)
      }
    }
    let object = JSONObject([
      ("version", .string(programVersion)), ("digest", .string(programDigest)),
      ("library", .string(computeLibrary)), ("instructions", .string(instructionSet)),
      ("cores", .integer(coreCount)), ("available", .integer(availableByteCount)),
      ("mpi", mpiMajorVersion.map { .integer($0) } ?? .null),
      ("interfaces", .array(interfaces.map { .string($0) })), ("files", .array(files)),
    ])
    return Self.mark + JSONValue.object(object).compactText
  }

  /// Finds the report in what a host printed.
  ///
  /// - Parameter output: of the host, perhaps with other lines.
  /// - Returns: nil when there is none.
  package init?(output: String) {
    guard
      let line = output.split(whereSeparator: \.isNewline).first(where: { $0.hasPrefix(Self.mark) }),
      let json = try? JSONParser.parse(String(line.dropFirst(Self.mark.count))),
      let version = json["version"]?.stringValue, let digest = json["digest"]?.stringValue,
      let library = json["library"]?.stringValue,
      let instructions = json["instructions"]?.stringValue, let cores = json["cores"]?.intValue,
      let available = json["available"]?.intValue, let files = json["files"]?.arrayValue
    else { return nil }
    self.init(
      programVersion: version, programDigest: digest, computeLibrary: library,
      instructionSet: instructions, coreCount: cores, availableByteCount: available,
      mpiMajorVersion: json["mpi"]?.intValue,
      interfaces: (json["interfaces"]?.arrayValue ?? []).compactMap(\.stringValue),
      files: files.map { file in
        if let error = file.stringValue { return .failure(UserError(.badInput, error)) }
        guard let fingerprint = file["fingerprint"]?.stringValue else { return .success(nil) }
        return .success(
          SharedFiles(
            fingerprint: fingerprint, tensorByteCount: file["bytes"]?.intValue ?? 0,
            elementCount: file["elements"]?.intValue ?? 0))
      })
  }
}
