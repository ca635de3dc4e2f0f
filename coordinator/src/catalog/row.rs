//! Reading rows: each value checked, each error with table and column.

use std::{fmt::Display, str::FromStr};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, any::AnyRow};
use strongroom_layout::position::{Lsn, TimelineId};

use super::CatalogError;

/// A row of a table.
pub(super) struct Columns<'a> {
    table: &'static str,
    row: &'a AnyRow,
}

impl<'a> Columns<'a> {
    pub(super) fn new(table: &'static str, row: &'a AnyRow) -> Self {
        Self { table, row }
    }

    pub(super) fn opt_text(&self, column: &'static str) -> Result<Option<String>, CatalogError> {
        Ok(self.row.try_get(column)?)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, CatalogError> {
        self.there(column, self.opt_text(column)?)
    }

    pub(super) fn opt_int(&self, column: &'static str) -> Result<Option<i64>, CatalogError> {
        Ok(self.row.try_get(column)?)
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool, CatalogError> {
        Ok(self.number::<i64>(column)? != 0)
    }

    /// Any integer that the value must fit.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, CatalogError> {
        self.there(column, self.opt_number(column)?)
    }

    pub(super) fn opt_number<T: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, CatalogError> {
        self.opt_int(column)?
            .map(|value| {
                T::try_from(value)
                    .map_err(|_| self.corrupt(column, format!("is {value}, out of range")))
            })
            .transpose()
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, CatalogError> {
        self.there(column, self.opt_time(column)?)
    }

    pub(super) fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, CatalogError> {
        self.opt_int(column)?
            .map(|value| {
                Timestamp::from_microsecond(value).map_err(|error| self.corrupt(column, error))
            })
            .transpose()
    }

    pub(super) fn lsn(&self, column: &'static str) -> Result<Lsn, CatalogError> {
        self.number(column).map(Lsn)
    }

    pub(super) fn timeline(&self, column: &'static str) -> Result<TimelineId, CatalogError> {
        self.number(column).map(TimelineId)
    }

    pub(super) fn parse<T: FromStr<Err: Display>>(
        &self,
        column: &'static str,
    ) -> Result<T, CatalogError> {
        self.there(column, self.opt_parse(column)?)
    }

    pub(super) fn opt_parse<T: FromStr<Err: Display>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, CatalogError> {
        self.opt_text(column)?
            .map(|text| text.parse().map_err(|error| self.corrupt(column, error)))
            .transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<T, CatalogError> {
        self.there(column, self.opt_json(column)?)
    }

    pub(super) fn opt_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, CatalogError> {
        self.opt_text(column)?
            .map(|text| serde_json::from_str(&text).map_err(|error| self.corrupt(column, error)))
            .transpose()
    }

    pub(super) fn corrupt(&self, column: &'static str, problem: impl Display) -> CatalogError {
        CatalogError::Corrupt {
            table: self.table,
            column,
            problem: problem.to_string(),
        }
    }

    fn there<T>(&self, column: &'static str, value: Option<T>) -> Result<T, CatalogError> {
        value.ok_or_else(|| self.corrupt(column, "is missing"))
    }
}

/// Every row of a result, read by `read`.
pub(super) fn read_all<T>(
    rows: &[AnyRow],
    read: impl Fn(&AnyRow) -> Result<T, CatalogError>,
) -> Result<Vec<T>, CatalogError> {
    rows.iter().map(read).collect()
}

/// Unix microseconds.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// As JSON text. Our own types have text keys and finite numbers only, so that
/// writing them cannot fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain types serialise")
}

/// A count in a BIGINT.
pub(super) fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A pattern for `LIKE … ESCAPE '\'` that matches texts with this beginning.
pub(super) fn beginning(prefix: &str) -> String {
    format!("{}%", literal(prefix))
}

/// A pattern for `LIKE … ESCAPE '\'` that matches texts with this end, whatever the
/// case of its letters.
pub(super) fn ending(suffix: &str) -> String {
    format!("%{}", literal(suffix))
}

fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
