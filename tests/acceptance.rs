//! Holds the contract row by row: each row of `docs/acceptance.md` names the tests that hold it. The table's last column
//! is made from the marks in the tests, as in `// acceptance 19, 20`; `just acceptance` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = "docs/acceptance.md";
const MARK: &str = "// acceptance ";
/// How many rows there are.
const ROWS: u32 = 136;
/// Set by `just acceptance`: the table is written, and not only compared.
const WRITE: &str = "WORKPLANE_WRITE_ACCEPTANCE";

/// A test, by its file and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    file: String,
    test: String,
}

type Marks = BTreeMap<u32, BTreeSet<Held>>;

#[test]
fn every_row_is_held_by_a_test_and_the_table_says_by_which() {
    let marks = all_marks();
    let unheld: Vec<_> = (1..=ROWS).filter(|row| !marks.contains_key(row)).collect();
    let unknown: Vec<_> = marks.keys().filter(|row| !(1..=ROWS).contains(*row)).collect();
    let path = root().join(TABLE);
    let table = fs::read_to_string(&path).expect("the table can be read");
    let written = with_tests(&table, &marks);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &written).expect("the table can be written");
    } else {
        assert!(table == written, "{TABLE} is not what the marks in the tests say: run `just acceptance`");
    }
    assert!(unknown.is_empty(), "marks of rows that there are not: {unknown:?}");
    assert!(unheld.is_empty(), "rows that no test holds: {unheld:?}");
}

#[test]
fn the_table_has_each_row_once_and_in_order() {
    let table = fs::read_to_string(root().join(TABLE)).expect("the table can be read");
    let rows: Vec<_> = table.lines().filter_map(row_of).collect();
    assert_eq!(rows, (1..=ROWS).collect::<Vec<_>>());
}

#[test]
fn a_mark_counts_for_the_test_around_it_and_nowhere_else() {
    let test = "#[tokio::test(flavor = \"x\")]\nasync fn holds() {\n    // acceptance 3, 4: why\n    x();\n}\n";
    let found = marks_of("a.rs", test).unwrap();
    assert_eq!(found, [(3, "holds"), (4, "holds")].map(|(row, test)| (row, held("a.rs", test))));
    assert!(marks_of("a.rs", "fn helper() {\n    // acceptance 3\n}\n").is_err());
    assert!(marks_of("a.rs", "#[test]\nfn holds() {\n    // acceptance three\n}\n").is_err());
    assert_eq!(marks_of("a.rs", "/// As acceptance 3 says.\nfn f() {}\n").unwrap(), []);
}

#[test]
fn both_combinations_of_features_that_there_are_are_built_and_tested() {
    // acceptance 133
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it can be read");
    let manifest = read("Cargo.toml");
    let lines = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let features: Vec<_> = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(" = ").next().unwrap_or_default())
        .collect();
    assert_eq!(features, ["failpoints"], "a second feature makes four combinations: .ci/run is to do all of them");
    let optional = manifest.lines().filter(|line| line.contains("optional = true"));
    assert!(optional.eq(["fail = { version = \"0.5\", optional = true }"]), "an optional dependency is a feature");
    let ci = read(".ci/run");
    for what in ["clippy --locked --all-targets", "test --locked"] {
        assert!(ci.contains(&format!("cargo {what} --features failpoints")), "{what}");
    }
}

fn held(file: &str, test: &str) -> Held {
    Held { file: file.to_owned(), test: test.to_owned() }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The number of a line of the table that is a row.
fn row_of(line: &str) -> Option<u32> {
    line.strip_prefix("| ")?.split(" | ").next()?.parse().ok()
}

/// The table with its last column made anew.
fn with_tests(table: &str, marks: &Marks) -> String {
    let line = |line: &str| match row_of(line) {
        None => format!("{line}\n"),
        Some(row) => {
            let what = line.split(" | ").nth(1).unwrap_or_default();
            format!("| {row} | {what} | {} |\n", tests_of(row, marks))
        }
    };
    table.lines().map(line).collect()
}

fn tests_of(row: u32, marks: &Marks) -> String {
    let tests = marks.get(&row).into_iter().flatten();
    let tests: Vec<_> = tests.map(|Held { file, test }| format!("`{file}`: `{test}`")).collect();
    tests.join("<br>")
}

fn all_marks() -> Marks {
    let mut marks = Marks::new();
    for path in rust_files() {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let file = path.strip_prefix(root()).expect("it lies under the root").to_string_lossy().into_owned();
        // Its examples are no marks.
        if file == "tests/acceptance.rs" {
            marks.entry(133).or_default().insert(held(&file, FEATURES));
            continue;
        }
        let found = marks_of(&file, &text).unwrap_or_else(|wrong| panic!("{wrong}"));
        for (row, held) in found {
            marks.entry(row).or_default().insert(held);
        }
    }
    marks
}

/// The one test of this file that holds a row.
const FEATURES: &str = "both_combinations_of_features_that_there_are_are_built_and_tested";

/// The marks in a file, each with the test around it.
fn marks_of(file: &str, text: &str) -> Result<Vec<(u32, Held)>, String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(numbers) = line.strip_prefix(MARK) else { continue };
        let wrong = |what: &str| format!("{file}:{}: {what}: {line}", at + 1);
        let numbers = numbers.split(':').next().unwrap_or_default();
        let name = test_around(&lines[..at]).ok_or_else(|| wrong("a mark outside of a test"))?;
        for number in numbers.split(',') {
            let row = number.trim().parse().map_err(|_| wrong("a mark is numbers with commas between them"))?;
            found.push((row, held(file, name)));
        }
    }
    Ok(found)
}

/// The name of the function that the last of these lines belong to, where it is a test.
fn test_around<'t>(lines: &[&'t str]) -> Option<&'t str> {
    let function = |line: &&'t str| {
        let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
        line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")
    };
    let at = lines.iter().rposition(|line| function(line).is_some())?;
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    let is_test = attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let name = function(&lines[at])?.split(['(', '<']).next();
    name.filter(|_| is_test)
}

/// The Rust files of the crate and of its tests.
fn rust_files() -> Vec<PathBuf> {
    let mut directories = vec![root().join("src"), root().join("tests")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory can be read") {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
