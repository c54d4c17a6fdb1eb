import Data
import Support
import Testing

@Suite struct JinjaTests {
  /// Cases that scripts/check-jinja.py wrote with jinja2 and the settings of transformers.
  static let fixtures: JSONValue = {
    let path =
      FileSystem.parent(of: FileSystem.parent(of: #filePath)) + "/Fixtures/jinja-cases.json"
    return (try? FileSystem.readJSON(path)) ?? .null
  }()

  func render(_ template: String, _ variables: [(name: String, value: JSONValue)] = []) throws
    -> String
  {
    try ChatTemplate(template, path: "t.jinja").render(variables).text
  }

  func failure(_ template: String) -> String {
    do {
      return "no error: \(try render(template))"
    } catch {
      return "\(error)"
    }
  }

  @Test func everythingIsAsInJinja2() throws {
    let variables = (Self.fixtures["data"]?.objectValue?.members ?? []).map {
      (name: $0.name, value: $0.value)
    }
    let cases = try #require(Self.fixtures["cases"]?.arrayValue)
    #expect(cases.count > 400)
    for entry in cases {
      let template = try #require(entry["template"]?.stringValue)
      guard let text = entry["text"]?.stringValue else {
        #expect(throws: UserError.self, "\(template)") { try render(template, variables) }
        continue
      }
      do {
        let own = try render(template, variables)
        #expect(own.isExactly(text), "\(template)")
      } catch {
        Issue.record("\(template): \(error)")
      }
    }
  }

  @Test(.enabled(if: SharedData.isPresent, Comment(rawValue: SharedData.absence)))
  func realTemplatesWriteWhatTheirAuthorsExpect() throws {
    let path = SharedData.path("data/tokenizers/hf-test-vectors/jinja_chat_templates.vectors.json")
    let vectors = try #require(try FileSystem.readJSON(path, limit: 1 << 26).objectValue)
    #expect(vectors.count >= 50)
    for (name, vector) in vectors.members {
      // The one template that asks for the date was rendered on another day.
      let date = TemplateDate(name.contains("SmolLM3") ? "2025-07-10" : "2024-07-26") ?? .standard
      let template = try ChatTemplate(
        vector["chat_template"]?.stringValue ?? "", path: name, date: date)
      let variables = (vector["data"]?.objectValue?.members ?? []).map {
        (name: $0.name, value: $0.value)
      }
      let text = try template.render(variables).text
      var target = vector["target"]?.stringValue ?? ""
      if name == "MadeAgents/Hammer2.1" {
        // `tools|string` is Python's text of a list; the vector was made in JavaScript.
        #expect(!text.isExactly(target))
        let python = try ChatTemplate("{{ tools | string }}", path: name).render(variables).text
        let json = try ChatTemplate("{{ tools | tojson }}", path: name).render(variables).text
        target = target.replacing(json, with: python)
      }
      #expect(text.isExactly(target), "\(name)")
    }
  }

  @Test(arguments: [
    ("a\n{% if %}", "t.jinja:2: "), ("{{ 'a }}", "a string without end"),
    ("{{ a | nofilter }}", "there is no filter 'nofilter'"),
    ("{{ a is notest }}", "there is no test 'notest'"),
    ("x\n\n{% frob %}", "t.jinja:3: "), ("{% include 'x' %}", "'include' is not supported"),
    ("{% import 'x' as y %}", "'import' is not supported"),
    ("{% for x in y %}\n{{ x }}", "'for' of line 1 has no 'endfor' or 'else'"),
    ("{{ (1 }}", "expected ')'"), ("{# a", "a comment without end"),
    ("{% if a %}{% endfor %}", "unknown tag 'endfor' inside 'if' of line 1"),
    ("{% break %}", "'break' outside of a loop"),
  ])
  func brokenTemplatesAreNamedWithTheirLine(_ template: String, _ message: String) {
    let error = failure(template)
    #expect(error.contains(message), "\(error)")
    #expect(error.contains("--chat-template"))
  }

  @Test(arguments: [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{{ range(100001) }}", "{{ 'a' * 100000000 }}", "{{ [0] * 10000000 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 9 ** 99 }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% for i in range(99999) %}{{ 'abcdefghij' * 1000 }}{% endfor %}",
    "{{ 'a' | center(1000000000) }}", "{{ '%99999d' % 1 }}",
    "{{ ('a' * 9000000).replace('a', 'b' * 9000000) }}", "{{ '\\t' | indent(1000000000) }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    // Work that no statement shows: walks over values, searches, numbers of many digits.
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
    "{% set ns = namespace(x=(1,)) %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x < ns.x }}",
    "{% set l = range(99999) | list %}{% for i in range(99999) %}{% if l | wordcount %}{% endif %}{% endfor %}",
    "{% set a = 'a' * 99999 %}{% for i in range(99999) %}{% if (a + 'b') in a + a %}{% endif %}{% endfor %}",
    "{% set a = 'a' * 999999 %}{% for i in range(99999) %}{% if a is lower %}{% endif %}{% endfor %}",
    "{% for i in range(99999) %}{{ '%f' % 1e-300 }}{{ 1e-300 | round(2) }}{% endfor %}",
    "{{ [[[1]]] | tojson(indent=9000000) }}",
    "{{ 'a' | indent(-9223372036854775807) }}{{ [] | tojson(indent=-9223372036854775807) }}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ '\\t'.expandtabs(9223372036854775807) }}",
    "{{ range(0, 10, 2)[::9223372036854775807] }}",
    "{{ range(9223372036854775806, 9223372036854775807, 5)[1:] }}",
    "{% set b = 'a' * 9999999 %}{{ {'a': b, 'b': b, 'c': b, 'd': b} | urlencode }}",
    "{% set b = 'a' * 9999999 %}{% for i in range(99999) %}{% if b is filter %}{% endif %}{% endfor %}",
    "{% set b = 'a' * 9999999 %}{% for i in range(99999) %}{% if ''.strip(b) %}{% endif %}{% endfor %}",
    "{% set b = 'a' * 9999999 %}{% for i in range(99999) %}{% if '%.0s' % b %}{% endif %}{% endfor %}",
    "{% set b = '.' * 9999999 %}{{ [] | sum(b) }}", "{{ ('a' * 9999999).split('a') }}",
    "{% set l = [''] * 999999 %}{% for i in range(99999) %}{% if ''.join(l) %}{% endif %}{% endfor %}",
  ])
  func templatesThatTakeTooMuchEnd(_ template: String) {
    let error = failure(template)
    #expect(error.contains("takes too much"), "\(error)")
  }

  /// What is not too much is quick, also where a plain search takes the square of the length.
  @Test(.timeLimit(.minutes(1))) func searchesTakeLinearTime() throws {
    let half = "{% set a = 'a' * 3000000 %}{% set b = 'a' * 1500000 %}"
    for (expression, result) in [
      ("(b + 'c') in a", "False"), ("a.find(b + 'c')", "-1"), ("a.rfind('c' + b)", "-1"),
      ("a.count(b)", "2"), ("(a + 'c').find(b + 'c')", "1500000"),
      ("('c' + a).rfind('c' + b)", "0"), ("a.split(b + 'c') | length", "1"),
      ("a.replace(b, '') | length", "0"), ("'abcabd'.find('abd')", "3"),
      ("'abcabcabd'.rfind('abc')", "3"), ("'ababab'.rpartition('abab')[0]", "ab"),
    ] {
      #expect(try render(half + "{{ \(expression) }}") == result, "\(expression)")
    }
  }

  @Test func extremeNumbersAreNumbers() throws {
    #expect(try render("{{ 'ab'.ljust(-9223372036854775807) }}") == "ab")
    #expect(try render("{{ 'a' | truncate(9223372036854775807) }}") == "a")
    #expect(try render("{{ 'a' | center(-9223372036854775807) }}") == "a")
    #expect(try render("{{ 'a' | indent(-9223372036854775807) }}") == "a")
  }

  @Test func templatesThatNestTooDeepAreRefused() {
    for (open, close) in [("(", ")"), ("[", "]"), ("not ", ""), ("-", "")] {
      let deep = String(repeating: open, count: 5000) + "1" + String(repeating: close, count: 5000)
      #expect(failure("{{ \(deep) }}").contains("nests deeper"))
    }
    #expect(
      failure(String(repeating: "{% if 1 %}", count: 5000)).contains("nests deeper"))
    let chain = "1" + String(repeating: " + 1", count: 5000)
    #expect(failure("{{ \(chain) }}").contains("a chain of more than"))
    #expect(failure(String(repeating: "a", count: 1 << 20 + 1)).contains("bytes, more than"))
  }

  @Test func nothingButDataIsReached() {
    for template in [
      "{{ ''.__class__.__mro__ }}", "{{ [].append(1) }}", "{{ {}.update(a=1) }}",
      "{{ range.__globals__.x }}", "{{ ({}).__init__() }}", "{{ raise_exception.__code__.x }}",
      "{{ 'a'.format.__self__.x }}", "{{ '{0.__class__}'.format(1) }}",
    ] {
      #expect(failure(template).hasPrefix("the chat template"), "\(template)")
    }
  }

  @Test func refusalsAndFailuresSayWhere() {
    let refused = failure("\n{{ raise_exception('roles must alternate') }}")
    #expect(refused.contains("refuses the conversation: roles must alternate (t.jinja:2)"))
    #expect(failure("\n\n{{ a.b }}").contains("'a' is undefined (t.jinja:3)"))
  }

  @Test func generationBlocksAreFound() throws {
    let rendering = try ChatTemplate(
      "é{% generation %}ab{% endgeneration %}c{% for x in [1, 2] %}{% generation %}{{ x }}"
        + "{% endgeneration %}{% endfor %}", path: "t"
    ).render([])
    #expect(rendering.text == "éabc12")
    #expect(rendering.generated == [2..<4, 5..<6, 6..<7])
    #expect(
      failure("{% set x %}{% generation %}a{% endgeneration %}{% endset %}")
        .contains("inside a macro or a set block"))
  }

  @Test func theDateIsASetting() throws {
    let template = "{{ strftime_now('%d %b %Y|%A|%j|%-d|%y%m%d|%B|%H:%M') }}"
    let date = try #require(TemplateDate("2023-02-05"))
    #expect(
      try ChatTemplate(template, path: "t", date: date).render([]).text
        == "05 Feb 2023|Sunday|036|5|230205|February|00:00")
    #expect(try render("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024")
    for text in ["2024-02-30", "24-01-01", "2024-13-01", "2024-1-1", "x", "2024-00-10"] {
      #expect(TemplateDate(text) == nil)
    }
    #expect(TemplateDate("2024-02-29")?.text == "2024-02-29")
  }
}
