//! Tables that fit the terminal, and lists of fields.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

use super::format::printable;

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

    /// As text without white space at the ends of lines.
    pub(crate) fn render(&self) -> String {
        if self.inner.is_empty() {
            return self.empty.to_owned();
        }
        self.inner.trim_fmt()
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
    fn fields_line_up() {
        assert_eq!(
            fields([("id", "1".into()), ("state", "up\u{7}".into())]),
            "id     1\nstate  up\\u{7}\n"
        );
    }
}
