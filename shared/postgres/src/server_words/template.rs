//! Messages with gaps. Pure.
//!
//! In a template stand for what varies:
//!
//! - `%n`: a name; between quotes anything of one line, otherwise one word,
//! - `%k`: a kind of object, as the server calls it,
//! - `%t`: a type, or a function with its types,
//! - `%d`: a number or a position in the log,
//! - `%e`: the operating system's reason,
//! - `%v`: a value, of which nothing is shown.

use super::templates::KINDS;

/// Names are of 63 bytes, and may be two in one; of files they are longer.
const LONGEST_NAME: usize = 300;

/// The first of `templates` that `text` is made by: `text` without values.
pub(super) fn find(templates: &[&str], text: &str) -> Option<String> {
    let text = text.trim_end();
    templates.iter().find_map(|template| {
        let mut found = String::new();
        matches(template, text, &mut found).then_some(found)
    })
}

/// Appends what is shown of `text` to `found`; what was appended is of no use
/// when it does not match.
fn matches(template: &str, text: &str, found: &mut String) -> bool {
    let Some(gap) = template.find('%') else {
        found.push_str(template);
        return template == text;
    };
    let (literal, behind) = template.split_at(gap);
    let Some(rest) = text.strip_prefix(literal) else {
        return false;
    };
    found.push_str(literal);
    let (kind, behind) = behind.split_at(2);
    if kind == "%v" {
        return hide(behind, rest, found);
    }
    let quoted = literal.ends_with('"') && behind.starts_with('"');
    let ends = rest
        .char_indices()
        .map(|(at, character)| at + character.len_utf8());
    for end in ends.take_while(|end| *end <= LONGEST_NAME) {
        let filling = &rest[..end];
        if !fits(kind, filling, quoted) {
            continue;
        }
        let length = found.len();
        found.push_str(filling);
        if matches(behind, &rest[end..], found) {
            return true;
        }
        found.truncate(length);
    }
    false
}

/// A value goes up to the last place from where the template goes on.
fn hide(template: &str, text: &str, found: &mut String) -> bool {
    found.push('…');
    let length = found.len();
    let starts = (0..=text.len())
        .rev()
        .filter(|at| text.is_char_boundary(*at));
    for at in starts {
        if matches(template, &text[at..], found) {
            return true;
        }
        found.truncate(length);
    }
    false
}

fn fits(kind: &str, text: &str, quoted: bool) -> bool {
    let all = |allowed: &dyn Fn(char) -> bool| text.chars().all(allowed);
    match kind {
        "%n" if quoted => all(&|it| !it.is_control()),
        "%n" => all(&|it| !it.is_control() && !it.is_whitespace()),
        "%k" => KINDS.contains(&text),
        "%t" => all(&|it| it.is_alphanumeric() || " _$\"().,[]".contains(it)),
        "%d" => all(&|it| it.is_ascii_hexdigit() || "/.-".contains(it)),
        "%e" => all(&|it| it.is_ascii_alphabetic() || " /,-".contains(it)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_what_they_stand_for() {
        for (template, text, found) in [
            ("a %n b", "a x b", Some("a x b")),
            ("a %n b", "a x y b", None),
            ("a \"%n\" b", "a \"x y\" b", Some("a \"x y\" b")),
            ("a \"%n\" b", "a \"x\ny\" b", None),
            ("a: %v", "a: secret\nsecret", Some("a: …")),
            ("a %v b", "a secret b b", Some("a … b")),
            ("a %d", "a 0/5000", Some("a 0/5000")),
            ("a %d", "a secret", None),
            ("%k x", "table x", Some("table x")),
            ("%k x", "customer x", None),
            (
                "f: %e",
                "f: No such file or directory",
                Some("f: No such file or directory"),
            ),
            ("f: %e", "f: 4111", None),
            ("a", "a ", Some("a")),
            ("a", "ab", None),
        ] {
            assert_eq!(
                find(&[template], text).as_deref(),
                found,
                "{template} {text}"
            );
        }
    }

    #[test]
    fn long_texts_end() {
        let long = "x ".repeat(1 << 20);
        assert_eq!(find(&["a \"%n\" b", "%v z", "%t %t %d"], &long), None);
    }
}
