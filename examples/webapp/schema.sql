CREATE TABLE texts (
    id serial PRIMARY KEY,
    text text NOT NULL,
    words integer,
    counted_by text
);
INSERT INTO texts (text, words, counted_by) VALUES ('the one that is always there', 6, 'schema.sql');
