"""From evaluations to statements: tables, figures and one page, with intervals, floors and protocols."""
