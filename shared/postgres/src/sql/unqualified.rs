//! Whether a question of ours says where each thing is that it names. Pure.
//!
//! A function, an operator, a type or a relation that is named alone is looked
//! up along `search_path`, and a database's owner could put one of his own
//! there, which would run with our rights. The path is fixed for every
//! connection (`connection/startup.rs`); this is the second wall, for the day
//! on which somebody changes the first.

use super::tokens::{Token, tokens};

/// Statements that compute. Others name objects that they are about.
const COMPUTE: [&str; 7] = [
    "select", "with", "values", "insert", "update", "delete", "declare",
];

/// What may stand before a parenthesis and is no function, or none that is
/// looked up.
const BEFORE_PARENTHESIS: [&str; 26] = [
    "all", "and", "any", "array", "as", "by", "case", "coalesce", "else", "except", "exists",
    "filter", "from", "greatest", "having", "lateral", "least", "not", "on", "or", "over",
    "select", "then", "union", "when", "where",
];

/// Syntax behind which an operator or a function is looked up by its name
/// alone.
const HIDDEN: [&str; 12] = [
    "between", "extract", "ilike", "in", "like", "natural", "nullif", "overlaps", "overlay",
    "position", "similar", "using",
];

/// What ends a list of relations.
const AFTER_FROM: [&str; 9] = [
    "where",
    "group",
    "order",
    "having",
    "limit",
    "union",
    "except",
    "intersect",
    "for",
];

/// The first of what is looked up along `search_path` in statements of ours;
/// `None`: nothing is.
pub fn unqualified(statements: &str) -> Option<String> {
    let tokens = tokens(statements);
    tokens
        .split(|token| *token == Token::Mark(';'))
        .filter(|statement| {
            let first = statement.first();
            first.is_some_and(|first| COMPUTE.iter().any(|word| first.is(word)))
        })
        .find_map(in_statement)
}

fn in_statement(tokens: &[Token<'_>]) -> Option<String> {
    let get = |at: usize| tokens.get(at).copied();
    let mut at = 0;
    // Whether relations are being listed, for each parenthesis that is open.
    let mut listing = vec![false];
    while let Some(token) = get(at) {
        let before = at.checked_sub(1).and_then(get);
        let next = get(at + 1);
        let in_catalog =
            |at: usize| get(at).is_some_and(|it| it.is("pg_catalog")) && is(get(at + 1), '.');
        match token {
            Token::Word(word) if word.eq_ignore_ascii_case("operator") && is(next, '(') => {
                if !in_catalog(at + 2) || !is(get(at + 5), ')') {
                    return Some("OPERATOR(…)".to_owned());
                }
                at += 5;
            }
            Token::Word(_) if in_catalog(at) => at += 2,
            Token::Word(word) => {
                let keyword = word.to_ascii_lowercase();
                let keyword = keyword.as_str();
                let alias = before.is_some_and(|it| it.is("as"));
                let hidden = HIDDEN.contains(&keyword)
                    || keyword == "case" && !next.is_some_and(|it| it.is("when"))
                    || keyword == "distinct"
                        && before.is_some_and(|it| it.is("is") || it.is("not"));
                let call = is(next, '(') && !alias && !BEFORE_PARENTHESIS.contains(&keyword);
                if hidden || call {
                    return Some(word.to_owned());
                }
                if keyword == "collate" && !in_catalog(at + 1) {
                    return Some("COLLATE".to_owned());
                }
                if keyword == "from" || keyword == "join" {
                    if !relation(&tokens[at + 1..]) {
                        return Some(format!("what follows {word}"));
                    }
                    set(&mut listing, true);
                } else if AFTER_FROM.contains(&keyword) {
                    set(&mut listing, false);
                }
            }
            Token::Cast => {
                if !in_catalog(at + 1) {
                    return Some("::".to_owned());
                }
                if let (Some(Token::Text(text)), Some(kind)) = (before, get(at + 3))
                    && kind.is("regclass")
                    && !text.starts_with("pg_catalog.")
                {
                    return Some(text.to_owned());
                }
            }
            Token::Operator("*")
                if before.is_none_or(|it| it.is("select"))
                    || is(before, '(')
                    || is(before, '.') => {}
            Token::Operator(operator) => return Some(operator.to_owned()),
            Token::Mark('(') => listing.push(false),
            Token::Mark(')') => {
                listing.pop();
            }
            Token::Mark(',')
                if listing.last().copied().unwrap_or_default() && !relation(&tokens[at + 1..]) =>
            {
                return Some("what follows a comma".to_owned());
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn is(token: Option<Token<'_>>, mark: char) -> bool {
    token == Some(Token::Mark(mark))
}

fn set(listing: &mut [bool], to: bool) {
    if let Some(last) = listing.last_mut() {
        *last = to;
    }
}

/// Whether a relation is named so that nothing else can be meant: by its
/// schema, or not by a name. `LATERAL` is followed by what is looked at next.
fn relation(tokens: &[Token<'_>]) -> bool {
    let skip = usize::from(tokens.first().is_some_and(|it| it.is("only")));
    match tokens.get(skip).copied() {
        Some(Token::Mark('(')) => true,
        Some(Token::Name) => is(tokens.get(skip + 1).copied(), '.'),
        Some(word) if word.is("lateral") => true,
        Some(word) => word.is("pg_catalog") && is(tokens.get(skip + 1).copied(), '.'),
        None => false,
    }
}

#[cfg(test)]
mod tests;
