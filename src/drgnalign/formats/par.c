/* The loops over the text of a par file. par.py says what each function is given and gives back. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool is_blank(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Of the first row, of the shortest and of the longest. */
void row_lengths(const uint8_t *text, int64_t size, int64_t *lengths)
{
    int64_t first = 0, shortest = 0, longest = 0;
    for (int64_t start = 0, stop; start < size; start = stop + 1) {
        for (stop = start; stop < size && text[stop] != '\n'; stop++) {}
        const int64_t end = stop - (stop > start && text[stop - 1] == '\r');
        int64_t word = start;
        while (word < end && is_blank(text[word])) word++;
        if (word == end || text[start] == 'C') continue;
        const int64_t length = end - start;
        if (longest == 0) first = shortest = length;
        if (length < shortest) shortest = length;
        if (length > longest) longest = length;
    }
    lengths[0] = first, lengths[1] = shortest, lengths[2] = longest;
}

/* Write a number that fits between `start` and `stop`, where blanks are, towards the front. */
static void write_number(double value, int decimals, uint8_t *start, uint8_t *stop)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    uint64_t digits = (uint64_t)rint(fabs(value) * powers[decimals]);
    const bool negative = value < 0 && digits > 0;
    uint8_t *place = stop;
    for (int behind = 0; behind < decimals; behind++, digits /= 10) *--place = '0' + digits % 10;
    if (decimals > 0) *--place = '.';
    do {
        *--place = '0' + digits % 10;
        digits /= 10;
    } while (digits > 0 && place > start);
    if (negative) *--place = '-';
}

/* Text (rows, width + 1): all blanks before, and line ends. */
void format_rows(const double *values, int64_t rows, int columns, const int64_t *widths, const int64_t *decimals,
                 uint8_t *text)
{
    for (int64_t row = 0; row < rows; row++) {
        for (int column = 0; column < columns; column++, values++) {
            write_number(*values, (int)decimals[column], text, text + widths[column]);
            text += widths[column];
        }
        text++;
    }
}
