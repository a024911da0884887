// Command list-selectors says what PromQL expressions ask for: which metrics, with which labels.
//
// Standard input: a JSON array of expressions. Standard output: for each of them a JSON array of its selectors.
// Whether such metrics exist is for the caller to say.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A matcher is one condition between a selector's braces.
type matcher struct {
	Label    string `json:"label"`
	Operator string `json:"operator"`
	Value    string `json:"value"`
}

// A selector is one metric in an expression.
type selector struct {
	Metric   string    `json:"metric"`
	Matchers []matcher `json:"matchers"`
	// What the expression around it groups or joins by: without such a label, all its series fall together.
	Labels []string `json:"labels"`
}

func main() {
	log.SetFlags(0)
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		log.Fatalf("standard input: %v", err)
	}
	found := make([][]selector, 0, len(expressions))
	for _, expression := range expressions {
		selectors, err := selectorsOf(expression)
		if err != nil {
			log.Fatalf("%s: %v", expression, err)
		}
		found = append(found, selectors)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func selectorsOf(expression string) ([]selector, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	found := []selector{}
	err = parser.Walk(visitor{&found}, parsed, nil)
	return found, err
}

type visitor struct{ found *[]selector }

func (v visitor) Visit(node parser.Node, above []parser.Node) (parser.Visitor, error) {
	vector, ok := node.(*parser.VectorSelector)
	if !ok {
		return v, nil
	}
	if vector.Name == "" {
		return nil, fmt.Errorf("%s names no metric", vector)
	}
	*v.found = append(*v.found, selector{
		Metric:   vector.Name,
		Matchers: matchersOf(vector),
		Labels:   labelsAround(above),
	})
	return v, nil
}

func matchersOf(vector *parser.VectorSelector) []matcher {
	found := []matcher{}
	for _, each := range vector.LabelMatchers {
		if each.Name != labels.MetricName {
			found = append(found, matcher{each.Name, each.Type.String(), each.Value})
		}
	}
	return found
}

// labelsAround is what a selector's series are told apart by, in any expression around it.
func labelsAround(above []parser.Node) []string {
	found := []string{}
	for _, node := range above {
		switch each := node.(type) {
		case *parser.AggregateExpr:
			found = append(found, each.Grouping...)
		case *parser.BinaryExpr:
			if each.VectorMatching != nil {
				found = append(found, each.VectorMatching.MatchingLabels...)
			}
		}
	}
	return found
}
