use super::Style;

/// Columns that line up, without boxes.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
struct Cell {
    text: String,
    mood: Mood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Neutral,
    Good,
    Bad,
}

// === impl Table ===

impl Table {
    /// An empty table with these columns.
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|text| Cell {
            text: shown(&text),
            mood: Mood::Neutral,
        });
        self.rows.push(cells.collect());
    }

    /// Colours a cell of the last row.
    pub fn mark(&mut self, column: &str, good: bool) {
        let index = self.head.iter().position(|name| *name == column);
        let cell = index.and_then(|index| self.rows.last_mut()?.get_mut(index));
        if let Some(cell) = cell {
            cell.mood = if good { Mood::Good } else { Mood::Bad };
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, a line for each row.
    pub fn render(&self, style: Style) -> String {
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head = self.head.iter().map(|name| Cell {
            text: (*name).to_owned(),
            mood: Mood::Neutral,
        });
        let head = line(&head.collect::<Vec<_>>(), &widths, style);
        let mut out = style.heading(&head) + "\n";
        for row in &self.rows {
            out.push_str(&line(row, &widths, style));
            out.push('\n');
        }
        out
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn line(cells: &[Cell], widths: &[usize], style: Style) -> String {
    let mut out = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        out.push_str(&match cell.mood {
            Mood::Neutral => cell.text.clone(),
            Mood::Good => style.good(&cell.text),
            Mood::Bad => style.bad(&cell.text),
        });
        if index + 1 < cells.len() {
            out.push_str(&" ".repeat(width - cell.text.chars().count() + 2));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(["a".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "two\nlines".to_owned()]);
        table.mark("NAME", true);
        assert_eq!(
            table.render(Style::plain()),
            "NAME    X\na       -\nlonger  two lines\n"
        );
    }
}
