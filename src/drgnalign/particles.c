/* The loop over the names of images. particles.py says what it is given and gives back. */
#include <stdbool.h>
#include <stdint.h>

enum { MOST_DIGITS = 18 };

static inline bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

/* `text` has one name a line; and the number of its lines. */
void mark_bad_names(const uint8_t *text, int64_t size, int64_t names, bool *bad, int64_t *lines)
{
    int64_t line = 0;
    for (int64_t i = 0; i <= size; i++, line++) {
        int64_t digits = 0;
        for (; i < size && is_digit(text[i]); i++) digits += digits > 0 || text[i] != '0';
        const bool named = i + 1 < size && text[i] == '@' && text[i + 1] != '\n';
        while (i < size && text[i] != '\n') i++;
        if (line < names) bad[line] = digits == 0 || digits > MOST_DIGITS || !named;
    }
    *lines = line;
}
