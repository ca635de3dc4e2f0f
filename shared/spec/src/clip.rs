//! Texts and figures of whoever may be a thief, cut to what is kept of them: no sum
//! overflows, and no text fills a catalog.

/// The largest figure: 2^53, bytes of eight pebibytes. Every reader of JSON still takes
/// it exactly.
pub const MAX_FIGURE: u64 = 1 << 53;
/// Paths, causes, values; bytes.
pub const LINE: usize = 4 << 10;

/// Names, versions, stages; bytes.
pub const NAME: usize = 255;

/// Ends a text at the last character that lies within `max` bytes.
pub fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
}

/// Ends figures at [`MAX_FIGURE`].
pub fn limit<'a>(figures: impl IntoIterator<Item = &'a mut u64>) {
    for figure in figures {
        *figure = (*figure).min(MAX_FIGURE);
    }
}
