//! Texts that are kept in `tests/suite/golden` and compared line by line. `UPDATE_EXPECT=1` writes them again;
//! `git diff` then shows what changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

/// Number of lines that a failure shows.
const N_SHOWN: usize = 24;

/// The folder as an absolute path, so that the suite's binary can be started from any folder.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden")
}

/// Checks that the golden file `name` holds `found`.
#[track_caller]
pub fn check(name: &str, found: &str) {
    assert!(found.is_empty() || found.ends_with('\n'), "{name}: the last line has no end");
    let file = expect_file![folder().join(name)];
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return file.assert_eq(found);
    }
    if let Some(difference) = difference(&file.data(), found) {
        panic!("tests/suite/golden/{name} {difference}");
    }
}

/// The first lines that differ, with their numbers. All lines of a plan would fill the screen.
fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let lines = changed(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>());
    let count = |mark| lines.iter().filter(|(m, ..)| *m == mark).count();
    let mut text = format!(
        "differs: {} lines less, {} lines more. If the change is wanted, run the test with UPDATE_EXPECT=1 and read \
         the changes with git diff --word-diff.\n",
        count('-'),
        count('+')
    );
    // Writing to a string cannot fail.
    for (mark, number, line) in lines.iter().take(N_SHOWN) {
        let _ = writeln!(text, "{mark}{number:>5}  {line}");
    }
    if lines.len() > N_SHOWN {
        let _ = writeln!(text, "and {} lines more", lines.len() - N_SHOWN);
    }
    Some(text)
}

/// Lines of `old` that are not in `new` (`-`), and lines of `new` that are not in `old` (`+`), in order, by the longest
/// common subsequence.
fn changed<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, usize, &'a str)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    // Length of the longest common subsequence of a[i..] and b[j..].
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let longer = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { longer };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', start + i + 1, a[i]));
            i += 1;
        } else {
            out.push(('+', start + j + 1, b[j]));
            j += 1;
        }
    }
    out
}

#[test]
fn a_difference_names_its_lines_and_shows_both_sides() {
    assert_eq!(difference("a\nb\nc\n", "a\nb\nc\n"), None);
    let text = difference("a\nb\nc\nd\n", "a\nx\ny\nc\ne\n").unwrap();
    assert!(text.starts_with("differs: 2 lines less, 3 lines more."), "{text}");
    assert!(text.ends_with("\n-    2  b\n+    2  x\n+    3  y\n-    4  d\n+    5  e\n"), "{text}");
    // If a line is repeated once more, one new line is shown.
    assert!(difference("a\na\n", "a\na\na\n").unwrap().ends_with("\n+    3  a\n"));
    let long: String = (0..100).map(|i| format!("{i}\n")).collect();
    assert!(difference("", &long).unwrap().ends_with("and 76 lines more\n"));
    // Only the end of the last line differs.
    assert!(difference("a", "a\n").is_some());
    assert_eq!(expect_file![folder().join("no such file")].data(), "");
}
