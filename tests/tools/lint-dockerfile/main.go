// Lints Dockerfiles by the rules of `docker build --check`, without an engine and without a registry: BuildKit's own
// front end reads them, and every base image is an empty one.
//
//	lint-dockerfile Dockerfile...
//
// Exits with 1 if there is anything to say.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var platform = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// emptyImages knows every base image: one with nothing in it.
type emptyImages struct{}

func (emptyImages) ResolveImageConfig(
	_ context.Context, ref string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(ocispecs.Image{Platform: platform})
	return ref, digest.FromBytes(config), config, err
}

// lint prints what is wrong with one Dockerfile, and says whether anything is.
func lint(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	source := llb.NewSourceMap(nil, path, "Dockerfile", text)
	source.Definition = &llb.Definition{} // a builder would have one
	results, err := dockerfile2llb.DockerfileLint(context.Background(), text, dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{LinterConfig: &linter.Config{ExperimentalAll: true}},
		SourceMap:      source,
		TargetPlatform: &platform,
		MetaResolver:   emptyImages{},
	})
	if err != nil {
		return false, err
	}
	if results.Error != nil {
		return true, fmt.Errorf("%s: %s", path, results.Error.Message)
	}
	return len(results.Warnings) > 0, results.PrintTo(os.Stdout, nil)
}

func main() {
	clean := len(os.Args) > 1
	for _, path := range os.Args[1:] {
		found, err := lint(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		clean = clean && !found && err == nil
	}
	if !clean {
		os.Exit(1)
	}
}
