/* The loops over the text of a table. text_table.py says what each function is given and gives back.
 *
 * Files come from anywhere: no byte outside of text[start] ... text[stop - 1] is looked at.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As in text_table.py. */
enum { COMPLETE = 0, WRONG_COUNT = 1, NOT_A_NUMBER = 2 };
/* Digits that 64 bits hold; whole numbers of more digits than these are left to Python, which does not round them. */
enum { DIGITS = 18, WHOLE_DIGITS = 15 };
/* No point midway between two doubles has more digits than 768: where there are more, it is enough to know whether one
 * of them is not 0. And those of an exponent, which beyond FAR is far from all doubles. */
enum { MOST_DIGITS = 800, EXPONENT_DIGITS = 20 };
#define FAR INT64_C(1000000000000000)
/* Whole numbers up to here, and powers of ten up to 22, are exact in double precision, so that one division or
 * multiplication of them is correctly rounded (Clinger 1990, PLDI 25, 92). */
#define EXACT (UINT64_C(1) << 53)
enum { LARGEST_POWER = 22 };
static const double powers[LARGEST_POWER + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

/* How a field reads as a number. */
typedef struct {
    double value;
    bool whole; /* it is written as a whole number */
    bool valid; /* it is a number that can be kept as double */
} Number;

/* Where fields go. */
typedef struct {
    int width;            /* columns of the table */
    const bool *is_word;  /* of each column */
    const int64_t *place; /* of each column: among those of words, or among those of numbers */
    int64_t capacity;     /* rows that there is room for */
    double *numbers;      /* (columns of numbers, capacity) */
    int64_t *spans;       /* (columns of words, capacity, 2): where a word begins and ends */
    bool *whole;          /* of each column of numbers: all are written as whole numbers */
} Columns;

static inline bool is_blank(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }
static inline bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }
static inline bool is_quote(uint8_t byte) { return byte == '"' || byte == '\''; }

static int64_t line_end(const uint8_t *text, int64_t i, int64_t stop)
{
    while (i < stop && text[i] != '\n') i++;
    return i;
}

/* Behind the field that begins at `start`. */
static int64_t field_end(const uint8_t *text, int64_t start, int64_t stop)
{
    if (is_quote(text[start]))
        for (int64_t i = start + 1; i < stop && text[i] != '\n'; i++)
            if (text[i] == text[start] && (i + 1 == stop || is_blank(text[i + 1]))) return i + 1;
    int64_t i = start;
    while (i < stop && !is_blank(text[i])) i++;
    return i;
}

/* The double nearest to the whole number of some digits, which may have a point among them, times 10^power. strtod gets
 * a copy that ends, and has no point: which character that is depends on the user's language. */
static double nearest_double(const uint8_t *text, int64_t start, int64_t stop, int64_t power)
{
    char decimal[MOST_DIGITS + EXPONENT_DIGITS + 4];
    int length = 0;
    decimal[length++] = '0';
    bool more = false;
    for (int64_t i = start; i < stop; i++) {
        if (text[i] == '.' || (text[i] == '0' && length == 1)) continue;
        if (length < MOST_DIGITS) {
            decimal[length++] = (char)text[i];
        } else {
            more |= text[i] != '0';
            power++;
        }
    }
    if (more) {
        decimal[length++] = '1';
        power--;
    }
    decimal[length++] = 'e';
    if (power < 0) decimal[length++] = '-';
    char digits[EXPONENT_DIGITS];
    int count = 0;
    for (uint64_t rest = (uint64_t)llabs(power); count == 0 || rest > 0; rest /= 10) digits[count++] = '0' + rest % 10;
    while (count > 0) decimal[length++] = digits[--count];
    decimal[length] = '\0';
    return strtod(decimal, NULL);
}

/* "nan" and "inf", in any case, without a sign; 0 for all else. */
static double not_finite(const uint8_t *text, int64_t start, int64_t stop)
{
    if (stop - start != 3) return 0.0;
    const char word[3] = {text[start] | 32, text[start + 1] | 32, text[start + 2] | 32};
    return memcmp(word, "nan", 3) == 0 ? NAN : memcmp(word, "inf", 3) == 0 ? INFINITY : 0.0;
}

static Number number(const uint8_t *text, int64_t start, int64_t stop)
{
    const Number none = {0.0, false, false};
    const bool negative = text[start] == '-';
    int64_t i = start + (negative || text[start] == '+');
    const double special = not_finite(text, i, stop);
    if (special != 0.0) return (Number){negative ? -special : special, false, true};

    /* A mantissa of too many digits runs over, and is not used. */
    uint64_t mantissa = 0;
    const int64_t first = i;
    for (; i < stop && is_digit(text[i]); i++) mantissa = 10 * mantissa + (text[i] - '0');
    int64_t digits = i - first, power = 0;
    const bool point = i < stop && text[i] == '.';
    if (point) {
        const int64_t behind = ++i;
        for (; i < stop && is_digit(text[i]); i++) mantissa = 10 * mantissa + (text[i] - '0');
        power = behind - i;
        digits -= power;
    }
    if (digits == 0) return none;
    const int64_t last = i;
    const bool exponential = i < stop && (text[i] | 32) == 'e';
    if (exponential) {
        i++;
        const bool down = i < stop && text[i] == '-';
        if (i < stop && (down || text[i] == '+')) i++;
        const int64_t behind = i;
        int64_t exponent = 0;
        for (; i < stop && is_digit(text[i]); i++)
            if (exponent < FAR) exponent = 10 * exponent + (text[i] - '0');
        if (i == behind) return none;
        power += down ? -exponent : exponent;
    }
    const bool whole = !point && !exponential;
    if (i != stop || (whole && digits > WHOLE_DIGITS)) return none;

    double value;
    if (digits > DIGITS || mantissa > EXACT || llabs(power) > LARGEST_POWER)
        value = nearest_double(text, first, last, power);
    else
        value = power < 0 ? (double)mantissa / powers[-power] : (double)mantissa * powers[power];
    return (Number){negative ? -value : value, whole, true};
}

/* Keep a field; false where it had to be a number. */
static bool keep(const Columns *columns, int64_t row, int column, const uint8_t *text, int64_t start, int64_t stop)
{
    const int64_t place = columns->place[column], cell = place * columns->capacity + row;
    if (columns->is_word[column]) {
        const bool quoted = is_quote(text[start]) && stop - start > 1 && text[stop - 1] == text[start];
        columns->spans[2 * cell] = start + quoted;
        columns->spans[2 * cell + 1] = stop - quoted;
        return true;
    }
    const Number read = number(text, start, stop);
    if (!read.valid) return false;
    columns->numbers[cell] = read.value;
    columns->whole[place] &= read.whole;
    return true;
}

/* `found`: status, complete rows, offset, and the column (or number of fields) that the status is about. */
static void find(int64_t *found, int status, int64_t rows, int64_t offset, int column)
{
    found[0] = status, found[1] = rows, found[2] = offset, found[3] = column;
}

void parse(const uint8_t *text, int64_t start, int64_t stop, int comment, bool star, int width, const bool *is_word,
           const int64_t *place, int64_t capacity, double *numbers, int64_t *spans, bool *whole, int64_t *found)
{
    const Columns columns = {width, is_word, place, capacity, numbers, spans, whole};
    int64_t row = 0, i = start;
    while (i < stop) {
        const int64_t line = i;
        if (text[i] == comment) {
            i = line_end(text, i, stop) + 1;
            continue;
        }
        int column = 0;
        bool commented = false;
        for (;;) {
            while (i < stop && text[i] != '\n' && is_blank(text[i])) i++;
            if (star && i < stop && text[i] == comment) {
                commented = true;
                i = line_end(text, i, stop);
            }
            if (i == stop || text[i] == '\n') break;
            if (column == width) return find(found, WRONG_COUNT, row, i, column + 1);
            const int64_t end = field_end(text, i, stop);
            if (!keep(&columns, row, column, text, i, end)) return find(found, NOT_A_NUMBER, row, i, column);
            column++;
            i = end;
        }
        if (column == width)
            row++;
        else if (column > 0)
            return find(found, WRONG_COUNT, row, i, column);
        else if (star && !commented)
            return find(found, COMPLETE, row, line, 0);
        i++;
    }
    find(found, COMPLETE, row, i < stop ? i : stop, 0);
}

/* Words, each with a line end behind it. */
void copy_lines(const uint8_t *text, const int64_t *spans, int64_t words, uint8_t *lines)
{
    for (int64_t word = 0; word < words; word++) {
        const int64_t start = spans[2 * word], length = spans[2 * word + 1] - start;
        memcpy(lines, text + start, length);
        lines[length] = '\n';
        lines += length + 1;
    }
}
