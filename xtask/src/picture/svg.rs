//! [`document`] draws terminals side by side as an SVG of rectangles and text, with nothing that a page has to fetch.

use std::fmt::Write as _;

/// Pixels per character and line, for a font of 13 pixels.
const CHARACTER: f64 = 7.82;
const LINE: usize = 19;
const PADDING: usize = 16;
const TITLE: usize = 34;
const GAP: usize = 14;

/// The colour of a text, which tells its kind.
#[derive(Clone, Copy)]
pub(super) enum Color {
    Text,
    Muted,
    Green,
    Cyan,
    Red,
}

impl Color {
    const fn hex(self) -> &'static str {
        match self {
            Self::Text => "#e6e9ec",
            Self::Muted => "#8a949e",
            Self::Green => "#57c97a",
            Self::Cyan => "#5fc9d8",
            Self::Red => "#ff8a80",
        }
    }
}

/// A line of a terminal, in pieces of one colour each.
pub(super) struct Row(Vec<(Color, String)>);

impl Row {
    pub(super) fn new(color: Color, text: impl Into<String>) -> Self {
        Self(vec![(color, text.into())])
    }

    /// A line with a command that the user typed.
    pub(super) fn command(text: &str) -> Self {
        Self(vec![(Color::Green, "$ ".to_owned()), (Color::Text, text.to_owned())])
    }

    pub(super) fn push(&mut self, color: Color, text: impl Into<String>) {
        self.0.push((color, text.into()));
    }

    fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }
}

/// A terminal with a title.
pub(super) struct Pane {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

impl Pane {
    fn width(&self) -> usize {
        let columns = self.rows.iter().map(Row::columns).max().unwrap_or(0);
        (columns as f64 * CHARACTER).ceil() as usize + 2 * PADDING
    }
}

/// Returns the picture of all panes, from left to right and of one height.
pub(super) fn document(panes: &[Pane]) -> String {
    let rows = panes.iter().map(|pane| pane.rows.len()).max().unwrap_or(0);
    let height = TITLE + rows * LINE + 2 * PADDING;
    let gaps = GAP * panes.len().saturating_sub(1);
    let width = panes.iter().map(Pane::width).sum::<usize>() + gaps;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\">\n\
         <style>text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
         white-space:pre}}</style>\n",
        escaped(&panes.iter().map(|pane| pane.title).collect::<Vec<_>>().join(", beside it ")),
    );
    let mut x = 0;
    for pane in panes {
        draw(&mut svg, pane, x, height);
        x += pane.width() + GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, pane: &Pane, x: usize, height: usize) {
    let width = pane.width();
    let middle = x + width / 2;
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#14171a\"/>\n\
         <path d=\"M{x} {TITLE}V8a8 8 0 0 1 8 -8h{}a8 8 0 0 1 8 8v{}z\" fill=\"#262b31\"/>\n\
         <text x=\"{middle}\" y=\"22\" text-anchor=\"middle\" fill=\"#a3acb5\">{}</text>",
        width - 16,
        TITLE - 8,
        escaped(pane.title),
    );
    for (index, row) in pane.rows.iter().enumerate() {
        let y = TITLE + PADDING + index * LINE + 13;
        let mut column = 0;
        for (color, text) in &row.0 {
            // Each piece has its place and length, so that columns stand whatever font there is.
            let left = x as f64 + PADDING as f64 + column as f64 * CHARACTER;
            let count = text.chars().count();
            if !text.trim().is_empty() {
                let _ = writeln!(
                    svg,
                    "<text x=\"{left:.1}\" y=\"{y}\" fill=\"{}\" textLength=\"{:.1}\" \
                     xml:space=\"preserve\">{}</text>",
                    color.hex(),
                    count as f64 * CHARACTER,
                    escaped(text),
                );
            }
            column += count;
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
