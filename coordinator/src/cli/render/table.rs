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

/// Around a cell.
const PADDING: u16 = 2;
/// What each column is to have beside its padding: else cells are wrapped to single
/// letters, and rows are shown as lists instead.
const COLUMN: u16 = 8;
/// A terminal that is narrower shows nothing that can be read.
const NARROWEST: u16 = 20;

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
        let Some(width) = width.map(|width| width.max(NARROWEST)) else {
            table.set_content_arrangement(ContentArrangement::Disabled);
            return table.trim_fmt();
        };
        let columns = u16::try_from(table.column_count()).unwrap_or(u16::MAX);
        let whole = table.column_max_content_widths().into_iter();
        let natural = whole.fold(0_u16, |sum, column| sum.saturating_add(column + PADDING));
        if width < natural && width < columns.saturating_mul(COLUMN + PADDING) {
            return self.lists(width);
        }
        table.set_width(width);
        table.trim_fmt()
    }

    /// Each row as a list of its headings and cells.
    fn lists(&self, width: u16) -> String {
        let headings = self.inner.header();
        let headings: Vec<_> =
            headings.map_or_else(Vec::new, |row| row.cell_iter().map(Cell::content).collect());
        let lists = self.inner.row_iter().map(|row| {
            let mut list = comfy_table::Table::new();
            list.load_style(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
            for (heading, cell) in headings.iter().zip(row.cell_iter()) {
                list.add_row([heading.clone(), cell.content()]);
            }
            for (index, column) in list.column_iter_mut().enumerate() {
                column.set_padding((u16::from(index > 0), 1));
            }
            list.trim_fmt()
        });
        lists.collect::<Vec<_>>().join("\n\n")
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

    /// The headings of every table that the command line shows, as they stand in its
    /// sources.
    fn all_headings() -> Vec<Vec<String>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
        let mut all = Vec::new();
        let mut directories = vec![root];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if !path.ends_with("render/table.rs") {
                    all.extend(headings_in(&std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        all
    }

    fn headings_in(source: &str) -> Vec<Vec<String>> {
        let tables = source.split("Table::new(").skip(1);
        let headings = tables.map(|behind| {
            let list = behind.split_once("&[").unwrap().1;
            let list = list.split_once(']').unwrap().0;
            list.split('"').skip(1).step_by(2).map(Into::into).collect()
        });
        headings.collect()
    }

    #[test]
    fn every_table_fits_a_narrow_terminal() {
        let all = all_headings();
        assert!(all.len() > 12, "{all:?}");
        let long = [
            "2026-11-21 12:00:00 +00:00",
            "s3.example.com/bucket/prefix/web-1.example.com",
        ];
        for headings in all {
            let headings: Vec<_> = headings.iter().map(String::as_str).collect();
            let mut table = Table::new("nothing", &headings);
            let cells = headings.iter().enumerate();
            let cells: Vec<_> = cells
                .map(|(at, _)| format!("{}{at}", long[at % 2]))
                .collect();
            for _ in 0..2 {
                table.inner.add_row(cells.clone());
            }
            for width in [40, 60, 80] {
                let text = table.within(Some(width));
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(width.into()), "{width}: {text}");
                // Nothing is left out, and no column is of single letters.
                let letters = |text: &str| text.chars().filter(|it| !it.is_whitespace()).count();
                let shown: usize = cells.iter().map(|cell| letters(cell)).sum();
                assert!(letters(&text) >= 2 * shown, "{width}: {text}");
                let lines = text.lines().count();
                assert!(lines <= 3 + 2 * headings.len() * 6, "{width}: {text}");
            }
        }
    }

    #[test]
    fn rows_without_room_become_lists() {
        let mut table = Table::new("nothing", &["id", ">size", "detail", "host", "state"]);
        let cells = [
            "a",
            "10 KiB",
            "key=value key=value key=value",
            "web-1",
            "active",
        ];
        table.row(&cells.map(ToOwned::to_owned));
        table.row(&cells.map(ToOwned::to_owned));
        let text = table.within(Some(40));
        let first = text.split("\n\n").next().unwrap();
        assert_eq!(
            first,
            "ID      a\nSIZE    10 KiB\nDETAIL  key=value key=value key=value\nHOST    web-1\n\
             STATE   active"
        );
        // Short rows are a table, however narrow.
        let mut short = Table::new("nothing", &["id", ">size", "kind", "state", "n"]);
        short.row(&["a", "1", "b", "c", "d"].map(ToOwned::to_owned));
        assert!(short.within(Some(40)).starts_with("ID  SIZE"));
    }

    #[test]
    fn fields_line_up() {
        assert_eq!(
            fields([("id", "1".into()), ("state", "up\u{7}".into())]),
            "id     1\nstate  up\\u{7}\n"
        );
    }
}
