/* Finds the words nearest to a misspelled one: {"query": "wasn", "words": ["wasm", …], "top": 3} gives [{"word", "distance"}, …], the nearest
 * first, and of equally near ones the first in the list. The distance is Levenshtein's: how many characters are to be changed, added or
 * taken out. "top" is 5 unless it is given. */
#include "wasmrun.hpp"

#include <algorithm>
#include <string>
#include <vector>

struct candidate {
    std::string_view word;
    std::size_t distance;
};

/* UTF-8 to characters. */
static std::u32string characters(std::string_view text) {
    std::u32string found;
    for (unsigned char byte : text) {
        if (byte < 0x80) found += byte;
        else if (byte >= 0xc0) found += byte & (byte >= 0xf0 ? 0x07 : byte >= 0xe0 ? 0x0f : 0x1f);
        else if (!found.empty()) found.back() = found.back() << 6 | (byte & 0x3f);
    }
    return found;
}

static std::size_t distance(const std::u32string &from, const std::u32string &to, std::vector<std::size_t> &row) {
    row.resize(to.size() + 1);
    for (std::size_t k = 0; k <= to.size(); k++) row[k] = k;
    for (std::size_t i = 0; i < from.size(); i++) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t k = 0; k < to.size(); k++) {
            std::size_t changed = diagonal + (from[i] == to[k] ? 0 : 1);
            diagonal = row[k + 1];
            row[k + 1] = std::min({changed, row[k] + 1, diagonal + 1});
        }
    }
    return row.back();
}

static wasmrun::result nearest(wasmrun::value event, wasmrun::writer &answer) {
    auto query = event.get<std::string_view>("query");
    auto words = event.get("words");
    if (!query) return wasmrun::fail("InvalidEvent", "the event needs a string \"query\"");
    if (!words || words->kind() != wasmrun::kind::array) return wasmrun::fail("InvalidEvent", "the event needs an array \"words\"");
    auto top = event.get("top") ? event.get<std::uint32_t>("top") : 5;
    if (!top) return wasmrun::fail("InvalidEvent", "\"top\" has to be a number of words");

    std::vector<candidate> candidates;
    std::vector<std::size_t> row;
    const auto wanted = characters(*query);
    candidates.reserve(words->size());
    for (const auto &item : words->items()) {
        auto word = item.as<std::string_view>();
        if (!word) return wasmrun::fail("InvalidEvent", "a word is a string");
        candidates.push_back({*word, distance(wanted, characters(*word), row)});
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](auto &a, auto &b) { return a.distance < b.distance; });
    candidates.resize(std::min<std::size_t>(candidates.size(), *top));
    (void)answer.array(candidates.size());
    for (const auto &one : candidates) (void)answer.map("word", one.word, "distance", one.distance);
    return {};
}
WASMRUN_FUNCTION(wasmrun_handle, nearest)
