//! Tables that fit the terminal, and lists of fields.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
};

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

use super::format::printable;

/// Whether tables are as wide as their cells, whatever the terminal is: `--wide`. Set
/// once, before anything is printed.
static WIDE: AtomicBool = AtomicBool::new(false);

/// A table that is narrower wraps its cells to single letters.
const NARROWEST: u16 = 60;

/// Has all tables show their cells whole, in one line each.
pub(crate) fn set_wide(wide: bool) {
    WIDE.store(wide, Ordering::Relaxed);
}

/// Rows below a header.
#[derive(Debug)]
pub(crate) struct Table {
    inner: comfy_table::Table,
    empty: &'static str,
}

impl Table {
    /// With these headings; `empty` is said when there is no row. A heading
    /// that starts with `>` aligns its column to the right.
    pub(crate) fn new(empty: &'static str, headings: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(headings.iter().map(|heading| {
                let (text, alignment) = match heading.strip_prefix('>') {
                    Some(text) => (text, CellAlignment::Right),
                    None => (*heading, CellAlignment::Left),
                };
                Cell::new(text.to_uppercase()).set_alignment(alignment)
            }));
        for (index, heading) in headings.iter().enumerate() {
            if let Some(column) = inner.column_mut(index) {
                let left = u16::from(index > 0);
                column.set_padding((left, 1));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { inner, empty }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: &[String; N]) {
        self.inner
            .add_row(cells.iter().map(|cell| printable(cell).into_owned()));
    }

    /// As text without white space at the ends of lines: as wide as the terminal at
    /// most, long cells wrapped; into files and pipes as wide as need be.
    pub(crate) fn render(&self) -> String {
        let width = self.inner.width().filter(|_| !WIDE.load(Ordering::Relaxed));
        self.within(width)
    }

    fn within(&self, width: Option<u16>) -> String {
        if self.inner.is_empty() {
            return self.empty.to_owned();
        }
        let mut table = self.inner.clone();
        match width {
            Some(width) => table.set_width(width.max(NARROWEST)),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.trim_fmt()
    }

    /// As [`Self::render`]; where there is more, it says how `command` goes on:
    /// `--before` an id of the API's answer.
    pub(crate) fn render_page(&self, command: &str, next_before: Option<&str>) -> String {
        let text = self.render();
        match next_before {
            Some(before) => format!(
                "{text}\nthere is more: `{command} --before {}` goes on, --limit N shows more at once",
                printable(before)
            ),
            None => text,
        }
    }
}

/// Names and values below each other.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in &fields {
        let _ = writeln!(text, "{name:width$}  {}", printable(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_emptiness_is_said() {
        let mut table = Table::new("no snapshots", &["id", ">size"]);
        assert_eq!(table.render(), "no snapshots");
        table.row(&["a".into(), "1 B".into()]);
        table.row(&["bb".into(), "10 KiB".into()]);
        assert_eq!(table.render(), "ID    SIZE\na      1 B\nbb  10 KiB");
        assert_eq!(table.render_page("list", None), table.render());
        let more = table.render_page("list", Some("bb"));
        assert_eq!(
            more.strip_prefix(&table.render()),
            Some("\nthere is more: `list --before bb` goes on, --limit N shows more at once")
        );
    }

    #[test]
    fn long_cells_are_wrapped_to_the_terminal_and_whole_when_wide() {
        let mut table = Table::new("nothing", &["time", "object", "detail"]);
        let detail = "key=value ".repeat(40);
        let id = "0b8f4f3e-0000-7000-8000-000000000001";
        let time = "2026-11-21 12:00:00 +00:00".to_owned();
        table.row(&[time, id.to_owned(), detail.trim_end().to_owned()]);
        for width in [80, 120, 200] {
            let text = table.within(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width.into()), "{width}: {text}");
            assert_eq!(text.matches("key=").count(), 40, "{text}");
        }
        let whole = table.within(None);
        assert_eq!(whole.lines().count(), 2, "{whole}");
        assert!(whole.contains(id));
        // Narrower than is of use.
        assert!(table.within(Some(3)).contains("OBJECT"));
    }

    #[test]
    fn fields_line_up() {
        assert_eq!(
            fields([("id", "1".into()), ("state", "up\u{7}".into())]),
            "id     1\nstate  up\\u{7}\n"
        );
    }
}
