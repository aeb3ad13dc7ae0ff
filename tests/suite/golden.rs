//! Texts that are kept in `tests/suite/golden` and compared line by line. `UPDATE_EXPECT=1` writes them again;
//! `git diff` then shows what changed.

use std::fmt::Write as _;

use expect_test::{ExpectFile, expect_file};

/// Lines of each side that a failure shows.
const N_SHOWN: usize = 12;

/// Fails unless the golden file `name` holds `found`.
#[track_caller]
pub fn check(name: &str, found: &str) {
    assert!(found.is_empty() || found.ends_with('\n'), "{name}: the last line has no end");
    let file = expect_file![format!("golden/{name}")];
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return file.assert_eq(found);
    }
    if let Some(difference) = difference(&file.data(), found) {
        panic!("tests/suite/golden/{name} {difference}");
    }
}

/// What differs, in few lines; a whole plan would fill the screen.
fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let first = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old[first..].iter().rev().zip(new[first..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - rest, new.len() - rest);
    let mut text = format!(
        "differs from line {}: {} lines there, {} lines found. If the change is wanted, run the test with \
         UPDATE_EXPECT=1 and read the changes with git diff --word-diff.\n",
        first + 1,
        old_end - first,
        new_end - first
    );
    // Writing to a string cannot fail.
    for line in &old[first.saturating_sub(3)..first] {
        let _ = writeln!(text, "  {line}");
    }
    for (mark, lines) in [('-', &old[first..old_end]), ('+', &new[first..new_end])] {
        for line in lines.iter().take(N_SHOWN) {
            let _ = writeln!(text, "{mark} {line}");
        }
        if lines.len() > N_SHOWN {
            let _ = writeln!(text, "{mark} ... {} lines more", lines.len() - N_SHOWN);
        }
    }
    Some(text)
}

#[test]
fn a_difference_names_its_line_and_shows_both_sides() {
    assert_eq!(difference("a\nb\nc\n", "a\nb\nc\n"), None);
    let text = difference("a\nb\nc\n", "a\nx\ny\nc\n").unwrap();
    assert!(text.starts_with("differs from line 2: 1 lines there, 2 lines found."), "{text}");
    assert!(text.ends_with("  a\n- b\n+ x\n+ y\n"), "{text}");
    // A line that is there twice is shown once as new.
    assert!(difference("a\na\n", "a\na\na\n").unwrap().contains("0 lines there, 1 lines found"));
    let long: String = (0..100).map(|i| format!("{i}\n")).collect();
    assert!(difference("", &long).unwrap().ends_with("+ ... 88 lines more\n"));
    // Nothing but the end of the last line.
    assert!(difference("a", "a\n").is_some());
    let missing: ExpectFile = expect_file!["golden/no such file"];
    assert_eq!(missing.data(), "");
}
